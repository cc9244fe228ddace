r"""Notebooks: their text, what the text asks for, and the executed picture of it.

The source of a notebook is `NN_name.py` in jupytext's percent format. Its header may tell the
runner more, and every entry is optional:

    # ---
    # jupyter:
    #   kernelspec: {display_name: Python 3, language: python, name: python3}
    #   smile:
    #     after: [02_scenes]             # notebooks whose results it reads
    #     needs: [samson]                # scenes that it loads
    #     fallback: {scene: synthetic}   # parameters to set where a scene cannot be had
    #     check: strict                  # the tests compare the outputs of every cell
    # ---

`NN_name.ipynb` beside it is made from it, never the other way round.

Beside the executed notebook lies `NN_name.key`: the hash of all that it depends on, its text, its
parameters, the package, the locked versions, the data and the keys of the notebooks before it.
"""

__all__ = [
    "Notebook",
    "forget",
    "is_up_to_date",
    "key",
    "parameters",
    "picture",
    "plan",
    "publish",
    "read",
    "remember",
]

import ast
import base64
import graphlib
import hashlib
import io
import json
import jupytext
import nbformat
import papermill
import PIL.Image
import yaml

from dataclasses import dataclass
from nbformat import NotebookNode
from pathlib import Path
from typing import Any

from .record import replacing

PACKAGE = Path(__file__).resolve().parent

KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SETTINGS = {"after", "needs", "fallback", "check"}


@dataclass
class Notebook:
    r"""A notebook to run, and what becomes of it.

    Args:
        source: The path of its text.
        input: The path of the notebook made from the text.
        after: The notebooks whose results it reads.
        data: The scenes that it loads, and what identifies their data, `None` where they cannot
            be had.
        fallback: Whether it can do without these.
        parameters: The parameters to set, where they differ from the defaults.
        state: `done`, `up to date`, `no data` or `failed`; `not run` before, or after a failure
            of a notebook that it reads.
    """

    source: Path
    input: Path
    after: list[str]
    data: dict[str, str | None]
    fallback: bool
    parameters: dict[str, Any]
    state: str = "not run"

    @property
    def name(self) -> str:
        r"""The name of the notebook, `NN_name`."""
        return self.source.stem

    @property
    def missing(self) -> list[str]:
        r"""The scenes that it loads and that cannot be had."""
        return [scene for scene, fingerprint in self.data.items() if fingerprint is None]


def read(source: Path) -> NotebookNode:
    r"""Reads a notebook from its text.

    The result depends on the text alone: cells are named after the file and their position, and
    of the metadata only the tags and the `smile` settings are kept.

    Args:
        source: The path of the text, `NN_name.py`.

    Returns:
        The notebook, not executed.

    Raises:
        ValueError: If the header holds an unknown setting.
    """
    nb = jupytext.read(source, fmt="py:percent")

    if unknown := set(nb.metadata.get("smile", {})) - SETTINGS:
        raise ValueError(
            f"The header of {source.name} has unknown settings {sorted(unknown)}, "
            f"should be among {sorted(SETTINGS)}."
        )

    _trim(nb)
    for i, cell in enumerate(nb.cells):
        cell.id = f"{source.stem}-{i:02d}"

    return nb


def parameters(path: Path) -> dict[str, Any]:
    r"""Returns the names and the default values of a notebook's parameters.

    Args:
        path: The path of the notebook, `NN_name.ipynb`.

    Returns:
        The default values by name; one that is no literal is returned as its text.
    """
    return {k: _literal(p["default"]) for k, p in papermill.inspect_notebook(path).items()}


def plan(root: Path, profile: str, only: str | None, folder: Path) -> dict[str, Notebook]:
    r"""Plans a run: which notebooks, and with which parameters.

    Args:
        root: The folder that holds `notebooks`.
        profile: Either `quick`, the defaults of the parameters cells, or the name of a file
            `notebooks/<profile>.yaml` with parameters for each notebook.
        only: The numbers or names of the notebooks to run, separated by commas, or all.
        folder: The folder to write the notebooks to, as they are before execution.

    Returns:
        The notebooks by name.

    Raises:
        ValueError: If a name, a parameter or a setting is unknown.
        graphlib.CycleError: If two notebooks come after each other.
    """
    sources = {p.stem: p for p in sorted((root / "notebooks").glob("[0-9][0-9]_*.py"))}
    if not sources:
        raise ValueError(f"There are no notebooks NN_name.py in {root / 'notebooks'}.")

    values = {}
    if profile != "quick":
        values = yaml.safe_load((root / "notebooks" / f"{profile}.yaml").read_text("utf-8")) or {}
        if unknown := set(values) - set(sources):
            raise ValueError(f"{profile}.yaml has parameters for no notebook: {sorted(unknown)}.")

    chosen = {}
    for name in _choose(list(sources), only):
        chosen[name] = _prepare(sources[name], profile, values.get(name) or {}, folder)
        if unknown := set(chosen[name].after) - set(sources):
            raise ValueError(f"{name}.py comes after no notebook: {sorted(unknown)}.")

    graphlib.TopologicalSorter({nb.name: nb.after for nb in chosen.values()}).prepare()

    return chosen


def key(nb: Notebook, figures: Path) -> str:
    r"""Returns the hash of all that the results of a notebook depend on.

    Args:
        nb: The notebook.
        figures: The folder of the results.
    """
    # The stored keys of the notebooks before are those of the results that are there to read
    before = [_key_file(name, figures) for name in nb.after]
    constraints = nb.source.parents[1] / "constraints.txt"
    files = {path.name: path for path in [nb.input, constraints, *before] if path.exists()}

    # With the subpackages, without the bytecode
    for kind in ("py", "mplstyle"):
        for path in PACKAGE.rglob(f"*.{kind}"):
            files[path.relative_to(PACKAGE.parent).as_posix()] = path

    content = {
        "files": {k: hashlib.sha256(v.read_bytes()).hexdigest() for k, v in files.items()},
        "parameters": nb.parameters,
        "data": nb.data,
    }

    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_up_to_date(nb: Notebook, figures: Path) -> bool:
    r"""Tells whether the results of a notebook are there, and nothing has changed since.

    Args:
        nb: The notebook.
        figures: The folder of the results.
    """
    try:
        stored = json.loads(_key_file(nb.name, figures).read_text("utf-8"))
    except FileNotFoundError:
        return False

    return stored["key"] == key(nb, figures) and all(
        (figures / name).exists() for name in stored["outputs"]
    )


def forget(nb: Notebook, figures: Path) -> None:
    r"""Removes the key and the executed notebook, before another execution.

    Args:
        nb: The notebook.
        figures: The folder of the results.
    """
    _key_file(nb.name, figures).unlink(missing_ok=True)
    (figures / "notebooks" / f"{nb.name}.ipynb").unlink(missing_ok=True)


def remember(nb: Notebook, figures: Path, key: str) -> None:
    r"""Stores the key of an execution that succeeded, and the names of its results.

    Args:
        nb: The notebook.
        figures: The folder of the results.
        key: What `key` returned when the execution began.
    """
    outputs = [f"notebooks/{nb.name}.ipynb"]
    outputs += sorted(path.name for path in figures.glob(f"{nb.name}[._]*"))

    with replacing(_key_file(nb.name, figures)) as path:
        path.write_text(json.dumps({"key": key, "outputs": outputs}), "utf-8")


def picture(executed: NotebookNode) -> str:
    r"""Cleans an executed notebook, to be committed beside its text.

    What differs from run to run or from machine to machine is left out: times, versions,
    papermill's remarks. Outputs, execution counts and names of cells are kept; images are reduced
    to 256 colours.

    Args:
        executed: The notebook, executed with the defaults of its parameters cell.

    Returns:
        The content of the file, the same for the same outputs.

    Raises:
        ValueError: If other parameters were given, or if a cell was not executed, failed, or
            wrote to the error stream.
    """
    nb = nbformat.from_dict(executed)

    for cell in nb.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):
            raise ValueError(f"Other parameters than the defaults were set.\n{cell.source}")

        if cell.cell_type != "code":
            continue

        if cell.execution_count is None and cell.source.strip():
            raise ValueError(f"Cell {cell.id} was not executed.")

        for output in cell.outputs:
            if output.output_type == "error":
                raise ValueError(f"Cell {cell.id} failed. {output.ename}: {output.evalue}")
            if output.get("name") == "stderr":
                raise ValueError(f"Cell {cell.id} wrote to the error stream.\n{output.text}")
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = _shrink(output.data["image/png"])

    _trim(nb)
    nbformat.validate(nb)

    return nbformat.writes(nb) + "\n"


def publish(nb: Notebook, figures: Path) -> bool:
    r"""Refreshes the notebook beside its text from the executed one, and says so.

    Args:
        nb: The notebook.
        figures: The folder of the results, with the defaults of the parameters cell.

    Returns:
        Whether the executed notebook, if there is one, is fit to be committed.
    """
    target = nb.source.with_suffix(".ipynb")

    if nb.missing or nb.state not in ("done", "up to date"):
        print(f"{target.name} is left as it was: {'no data' if nb.missing else nb.state}.")
        return True

    try:
        text = picture(nbformat.read(figures / "notebooks" / target.name, as_version=4))
    except ValueError as error:
        print(f"{target.name} is left as it was. {error}")
        return False

    if target.exists() and target.read_text("utf-8") == text:
        print(f"{target.name} has not changed.")
    else:
        with replacing(target) as path:
            path.write_text(text, "utf-8", newline="\n")
        print(f"{target.name} is refreshed.")

    return True


def _choose(names: list[str], only: str | None) -> list[str]:
    if only is None:
        return names

    chosen = set()
    for word in only.replace(",", " ").split():
        matches = [name for name in names if word in (name, name[:2])]
        if not matches:
            raise ValueError(f"There is no notebook '{word}', but {', '.join(names)}.")
        chosen.update(matches)

    return sorted(chosen)


def _prepare(source: Path, profile: str, values: dict[str, Any], folder: Path) -> Notebook:
    nb = read(source)
    path = folder / f"{source.stem}.ipynb"
    nbformat.write(nb, path)

    smile = nb.metadata.get("smile", {})
    fallback = smile.get("fallback", {})

    # papermill itself would only warn
    defaults = parameters(path)
    for origin, given in ((f"{profile}.yaml", values), ("its fallback", fallback)):
        if unknown := set(given) - set(defaults):
            raise ValueError(
                f"{source.name} has no parameters {sorted(unknown)}, which {origin} sets, "
                f"but {', '.join(defaults) or 'none'}."
            )

    # Each profile has its own folder, so that a quick figure never replaces a full one
    if "figures" in defaults:
        values = {"figures": f"../figures/{profile}", **values}

    data = _data(smile.get("needs", []))
    if None in data.values():
        values = {**values, **fallback}

    return Notebook(
        source=source,
        input=path,
        after=smile.get("after", []),
        data=data,
        fallback=bool(fallback),
        parameters={name: value for name, value in values.items() if value != defaults[name]},
    )


def _data(names: list[str]) -> dict[str, str | None]:
    if not names:
        return {}

    from .scenes import available, fingerprint  # brings torch, which takes seconds

    return {name: fingerprint(name) if available(name) else None for name in names}


def _key_file(name: str, figures: Path) -> Path:
    return figures / "notebooks" / f"{name}.key"


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def _shrink(png: str) -> str:
    # 256 colours are enough for a figure, and a third of the bytes
    image = PIL.Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "P":
        return png

    buffer = io.BytesIO()
    image = image.convert("RGB").quantize(256, method=PIL.Image.Quantize.MAXCOVERAGE)
    image.save(buffer, format="png", optimize=True)

    return base64.b64encode(buffer.getvalue()).decode()


def _trim(nb: NotebookNode) -> None:
    smile = nb.metadata.get("smile")
    nb.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    if smile:
        nb.metadata.smile = smile

    for cell in nb.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = NotebookNode(tags=tags) if tags else NotebookNode()
