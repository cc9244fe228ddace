r"""The table of claims in the README, from the numbers of the full profile.

    python -m smile_core.readme

No number of the README is typed: this writes them between two marks, and a test holds them to the
files.
"""

__all__ = ["main", "table"]

import json
import sys

from pathlib import Path

from .bootstrap import ROOT
from .record import replacing

BEGIN = "<!-- claims: written by `python -m smile_core.readme` from figures/full -->\n"
END = "<!-- end of claims -->\n"


def table(figures: Path) -> str:
    r"""Makes the table of claims, in Markdown.

    Args:
        figures: The folder of the numbers, `NN_name.json`.
    """
    lines = ["", "| claim | notebook | number | holds | seconds |", "|---|---|---|---|---|"]
    runs = set()
    for path in sorted(figures.glob("[0-9][0-9]_*.json")):
        content = json.loads(path.read_text("utf-8"))
        run, name = content["provenance"], content["name"]
        if name.startswith("00"):
            continue
        commit = (run["commit"] or "none")[:7] + (" with changes" if run["dirty"] else "")
        runs.add(f"{run['date'][:10]}, {run['machine']}, {run['device']}, commit {commit}")
        for claim in content["claims"]:
            link = f"[{name[:2]}](notebooks/{name}.ipynb)"
            verdict = "yes" if claim["holds"] else "**no**"
            cells = [claim["claim"], link, claim["number"], verdict, f"{run['seconds']:.0f}"]
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")

    lines += ["", f"All claims are ours. Full profile: {'; '.join(sorted(runs))}.", ""]

    return "\n".join(lines) + "\n"


def main(root: Path = ROOT) -> int:
    r"""Writes the table to the README.

    Args:
        root: The folder of the README and the figures.

    Returns:
        The exit status: 1 where the README has lost its marks.
    """
    readme = root / "README.md"
    text = readme.read_text("utf-8")
    if BEGIN not in text or END not in text:
        print(f"{readme} should hold the lines\n{BEGIN}{END}", file=sys.stderr)
        return 1

    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    with replacing(readme) as path:
        path.write_text(before + BEGIN + table(root / "figures" / "full") + END + after, "utf-8")

    return 0


if __name__ == "__main__":
    sys.exit(main())
