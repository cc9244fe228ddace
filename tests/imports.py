r"""What modules of the package import from the package."""

__all__ = ["imported"]

import ast

from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "smile_core"


def imported(name: str) -> set[str]:
    r"""Returns the names of the modules of the package that one of them imports.

    Args:
        name: The name of the module in the package, such as "mixing" or "studies.study".
    """
    path = PACKAGE / f"{name.replace('.', '/')}.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = name.split(".")[: -node.level]
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join([*folder, module]) for module in modules}

    return found
