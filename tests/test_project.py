r"""Tests for the files of the project that hold each other up: packages, notebooks, sizes."""

import itertools
import json
import matplotlib
import matplotlib.pyplot as plt
import nbformat
import os
import pytest
import re
import shutil
import subprocess
import sys
import tomllib
import yaml

from nbformat import NotebookNode
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from pathlib import Path

from smile_core.bootstrap import NEWEST, OLDEST
from smile_core.notebooks import parameters, picture, read

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))

# The Pythons that the packages are locked for
PYTHONS = [f"{OLDEST[0]}.{minor}" for minor in range(OLDEST[1], NEWEST[1] + 1)]

notebooks = pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)


# Packages


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_meet_requirements(python: str) -> None:
    env = {"python_version": python, "python_full_version": f"{python}.9"}
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(env):
            assert pin.name not in pins, f"{pin.name} is pinned twice"
            [(operator, pins[pin.name])] = [(s.operator, s.version) for s in pin.specifier]
            assert operator == "=="

    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *itertools.chain(*extras.values())]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:  # with an extra of its own
            assert requirement.extras <= set(extras)
            continue
        version = pins.get(requirement.name)
        assert version is not None, f"{requirement.name} is not locked"
        assert version in requirement.specifier, f"{line}, and {version} is locked"

    assert python in SpecifierSet(PROJECT["requires-python"])


def test_constraints_name_no_place() -> None:
    # Neither a host, nor a folder, nor a build for one kind of machine
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if "/" in line or "+" in line or "@" in line] == []


def test_environment() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, packages = environment["dependencies"]

    # conda supplies Python and pip, and pip installs what make would
    assert re.fullmatch(r"python=3\.\d+", python)
    assert python.removeprefix("python=") in PYTHONS
    assert pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[test]"]}


def test_commands() -> None:
    # What continuous integration runs is the README's command, which goes by the environment
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    commands = [line for line in ci.splitlines() if line and line[0] != "#"]
    assert commands == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]

    # Whatever this run of make was given
    if shutil.which("make") is None:
        pytest.skip("no make")
    env = {"PATH": os.environ["PATH"]}

    dry = ["make", "--dry-run", "--no-print-directory", "-C", str(ROOT)]
    given = ["PROFILE=full", "ONLY=01,08", "FORCE=1", "JOBS=2"]
    for target, command in (
        ("reproduce", "smile_core.reproduce --profile full --only 01,08 --force --jobs 2"),
        ("report", "smile_core report --profile full"),
    ):
        command = f"python3 smile_core/bootstrap.py -m {command}"
        ran = subprocess.run(
            [*dry, target, *given], env=env, capture_output=True, text=True, check=True
        )
        assert " ".join(ran.stdout.split()) == command


# Habits


@pytest.mark.parametrize(
    "command",
    [["ruff", "check"], ["ruff", "format", "--check"], ["codespell_lib"]],
    ids=["style", "format", "spelling"],
)
def test_lint(command: list[str]) -> None:
    pytest.importorskip(command[0], reason="the extra 'lint' is not installed")
    ran = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr

    # What `make lint` runs
    lint = (ROOT / "Makefile").read_text("utf-8").split("\nlint:", 1)[1].split("\n\n", 1)[0]
    assert f"-m {' '.join(command)}\n" in lint + "\n"


@pytest.mark.parametrize("place", ["README.md", "CONTRIBUTING.md"])
def test_targets_are_there(place: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    text = (ROOT / place).read_text("utf-8")
    named = re.findall(r"(?:`|^|\$ )(?:[A-Z_]+=\S+ )?make ([a-z]+)", text, re.MULTILINE)
    assert named and set(named) <= set(targets)


def test_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    releases = re.findall(r"^## \[(\S+)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def test_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a contributor starts from runs, here without a kernel and on what needs no data
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path))
    text = "\n".join(cell.source for cell in code(read(ROOT / "notebooks" / "template.py")))
    smaller = {'"samson"': '"synthetic"', "int = 32": "int = 12", "int = 20": "int = 2"}
    for before, after in smaller.items():
        assert before in text
        text = text.replace(before, after)
    with matplotlib.rc_context({"backend": "agg"}):
        exec(text, {})
        plt.close("all")

    record = json.loads((tmp_path / "figures" / "quick" / "NN_name.json").read_text("utf-8"))
    assert record["claims"][0]["holds"] and record["figures"] == ["NN_name"]


# Notebooks


def code(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


@pytest.fixture
def committed(source: Path) -> NotebookNode:
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


@notebooks
def test_notebook_is_that_of_its_text(source: Path, committed: NotebookNode) -> None:
    text = read(source)

    assert committed.metadata == text.metadata
    assert [cell.source for cell in committed.cells] == [cell.source for cell in text.cells]
    for a, b in zip(committed.cells, text.cells, strict=True):
        assert (a.id, a.cell_type, a.metadata) == (b.id, b.cell_type, b.metadata)


@notebooks
def test_notebook_is_executed(source: Path, committed: NotebookNode) -> None:
    # Whole, without errors and warnings, and clean: cleaned again, it is the same
    assert picture(committed) == source.with_suffix(".ipynb").read_text("utf-8")

    # From top to bottom
    counts = [cell.execution_count for cell in code(committed)]
    assert counts == list(range(1, len(counts) + 1))

    # nbval would pass a checked cell without stored output
    for cell in code(committed):
        if "nbval-check-output" in cell.metadata.get("tags", []):
            assert cell.outputs, f"Cell {cell.id} is checked, but has no output"


@notebooks
def test_notebook_names_no_place(source: Path, committed: NotebookNode) -> None:
    # The kernel's name is in the metadata, compared above
    for cell in committed.cells:
        texts = [cell.source]
        for output in cell.get("outputs", []):
            texts.append(output.get("text", ""))
            texts += [v for k, v in output.get("data", {}).items() if not k.startswith("image/")]
        for text in map(str, texts):
            found = re.search(r"(?<![\w.:/])(/(home|root|tmp|Users|opt|work|mnt)/|[A-Z]:\\)", text)
            assert found is None, f"Cell {cell.id}: {text[found.start() :][:80]}"


@pytest.mark.parametrize(
    "source", [*NOTEBOOKS, ROOT / "notebooks" / "template.py"], ids=lambda path: path.stem
)
def test_notebook_shape(source: Path, tmp_path: Path) -> None:
    nb = read(source)
    path = tmp_path / "nb.ipynb"
    nbformat.write(nb, path)

    # Typed parameters, each with its help
    cells = [cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(cells) == 1
    for line in cells[0].source.splitlines():
        assert re.fullmatch(r"\w+: [\w\[\], |]+ = .+  # .+", line), line

    # Figures of the defaults go where the quick profile has them, which sets nothing else
    assert parameters(path).get("figures", "../figures/quick") == "../figures/quick"

    # Text around the code
    assert len(nb.cells) >= 2 * len(code(nb))
    text = "\n".join(cell.source for cell in nb.cells if cell.cell_type == "markdown")
    assert nb.cells[0].source.startswith("# ")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1


def test_notebooks_have_texts() -> None:
    pictures = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert pictures == {path.stem for path in NOTEBOOKS}


# Sizes


def test_files_are_small() -> None:
    try:
        command = ["git", "--no-optional-locks", "-C", str(ROOT), "ls-files", "-z", "-co"]
        command += ["--exclude-standard"]
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a clone")

    paths = [ROOT / name for name in names.split("\0")]
    sizes = {str(path): path.stat().st_size for path in paths if path.is_file()}
    assert len(sizes) > 10
    assert {name: size for name, size in sizes.items() if size > 600_000} == {}
