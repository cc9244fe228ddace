r"""Tests for the smile_core.notebooks module."""

import base64
import io
import nbformat
import numpy as np
import PIL.Image
import pytest
import sys

from nbformat import NotebookNode
from pathlib import Path
from types import SimpleNamespace

from smile_core import notebooks

HEADER = """\
# ---
# jupyter:
#   kernelspec: {{display_name: Python 3, language: python, name: python3}}
#   smile: {{{smile}}}
# ---

"""

CELLS = """\
# %% [markdown]
# # A claim

# %% tags=["parameters"]
scene: str = "mars"  # scene
steps: int = 5  # steps
rate: float = 1e-5  # rate
figures: str = "../figures/quick"  # folder of the results

# %%
print(scene)
"""


@pytest.fixture(autouse=True)
def scenes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    r"""Puts scenes in the place of the real ones, with what identifies their data."""
    scenes = {"venus": "v1"}
    module = SimpleNamespace(available=scenes.__contains__, fingerprint=scenes.get)
    monkeypatch.setitem(sys.modules, "smile_core.scenes", module)
    return scenes


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("notebooks", "input", "figures/quick/notebooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0")
    return tmp_path


def write(root: Path, name: str, smile: str = "", cells: str = CELLS) -> Path:
    path = root / "notebooks" / f"{name}.py"
    path.write_text(HEADER.format(smile=smile) + cells)
    return path


def plan(root: Path, profile: str = "quick", only: str | None = None) -> dict:
    return notebooks.plan(root, profile, only, root / "input")


def test_read(root: Path) -> None:
    nb = notebooks.read(write(root, "01_name", "needs: [venus]"))

    assert [cell.id for cell in nb.cells] == ["01_name-00", "01_name-01", "01_name-02"]
    assert [cell.metadata for cell in nb.cells] == [{}, {"tags": ["parameters"]}, {}]
    assert nb.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "smile": {"needs": ["venus"]},
    }
    nbformat.validate(nb)

    # A word of the header that would do nothing
    with pytest.raises(ValueError, match=r"02_name.py has unknown settings \['need'\]"):
        notebooks.read(write(root, "02_name", "need: [venus]"))


def test_plan(root: Path) -> None:
    write(root, "01_venus", "needs: [venus], fallback: {scene: synthetic}")
    write(root, "02_mars", "after: [01_venus], needs: [venus, mars], fallback: {scene: synthetic}")
    write(root, "03_mars", "needs: [mars]")
    write(root, "not_numbered")
    (root / "notebooks" / "full.yaml").write_text(
        "01_venus: {steps: 500, rate: 1.0e-5}\n02_mars: {scene: mars, steps: 50}\n03_mars:\n"
    )

    # The defaults are not set anew, so that the notebook is the one to commit
    quick = plan(root)
    assert list(quick) == ["01_venus", "02_mars", "03_mars"]
    assert quick["01_venus"].parameters == {}
    assert quick["02_mars"].parameters == {"scene": "synthetic"}
    assert [nb.missing for nb in quick.values()] == [[], ["mars"], ["mars"]]
    assert [nb.fallback for nb in quick.values()] == [True, True, False]
    assert quick["02_mars"].after == ["01_venus"]

    # The full profile has its own folder, and the fallback the last word
    full = plan(root, "full")
    assert full["01_venus"].parameters == {"figures": "../figures/full", "steps": 500}
    assert full["02_mars"].parameters == {
        "figures": "../figures/full",
        "scene": "synthetic",
        "steps": 50,
    }
    assert full["03_mars"].parameters == {"figures": "../figures/full"}

    # Selection by number or name
    assert list(plan(root, only="03,01_venus")) == ["01_venus", "03_mars"]
    assert list(plan(root, only="02")) == ["02_mars"]


@pytest.mark.parametrize(
    ("smile", "yaml", "only", "message"),
    [
        ("fallback: {stpes: 1}", "", None, r"01_a.py has no parameters \['stpes'\], which its"),
        ("", "01_a: {stpes: 1}", None, r"01_a.py has no parameters \['stpes'\], which full.yaml"),
        ("", "02_b: {steps: 1}", None, r"full.yaml has parameters for no notebook: \['02_b'\]"),
        ("", "", "01,7", r"There is no notebook '7', but 01_a"),
        ("after: [02_b]", "", None, r"01_a.py comes after no notebook: \['02_b'\]"),
        ("after: [01_a]", "", None, r"cycle"),
    ],
)
def test_plan_refused(root: Path, smile: str, yaml: str, only: str | None, message: str) -> None:
    write(root, "01_a", smile)
    (root / "notebooks" / "full.yaml").write_text(yaml)
    with pytest.raises(ValueError, match=message):
        plan(root, "full", only)


def test_plan_empty(root: Path) -> None:
    with pytest.raises(ValueError, match="There are no notebooks"):
        plan(root)


def test_is_up_to_date(
    root: Path, scenes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = root / "figures" / "quick"
    package = root / "package"
    for folder in ("theorems", "__pycache__"):
        (package / folder).mkdir(parents=True)
    monkeypatch.setattr(notebooks, "PACKAGE", package)

    first = write(root, "01_first")
    source = write(root, "02_second", "after: [01_first], needs: [venus]")
    write(root, "03_third")

    def run(name: str) -> None:
        nb = plan(root)[name]
        (figures / f"{name}.png").touch()
        (figures / "notebooks" / f"{name}.ipynb").touch()
        notebooks.remember(nb, figures, notebooks.key(nb, figures))

    def fresh() -> list[str]:
        return [k for k, nb in plan(root).items() if notebooks.is_up_to_date(nb, figures)]

    assert fresh() == []
    run("01_first")
    run("02_second")
    assert fresh() == ["01_first", "02_second"]

    # Each of these makes the second notebook run again, but not the first
    def touch(path: Path, text: str) -> None:
        path.write_text(text)

    second = {
        "text": lambda: touch(source, source.read_text() + "\n# %%\n1 + 1\n"),
        "data": lambda: scenes.update(venus="v2"),
        "figure": (figures / "02_second.png").unlink,
        "notebook": (figures / "notebooks" / "02_second.ipynb").unlink,
        "missing": scenes.clear,
    }
    for name, change in second.items():
        change()
        assert fresh() == ["01_first"], name
        run("02_second")
        assert fresh() == ["01_first", "02_second"], name

    # Each of these makes both run again
    both = {
        "module": lambda: touch(package / "module.py", "1"),
        "style": lambda: touch(package / "smile.mplstyle", "1"),
        "subpackage": lambda: touch(package / "theorems" / "module.py", "2"),
        "name": lambda: (package / "module.py").rename(package / "theorems" / "other.py"),
        "constraints": lambda: touch(root / "constraints.txt", "torch==2.14.0"),
    }
    for name, change in both.items():
        change()
        assert fresh() == [], name
        run("01_first")
        run("02_second")

    # Other files beside the modules do not count
    touch(package / "__pycache__" / "module.cpython-311.pyc", "1")
    touch(package / "module.py.orig", "1")
    assert fresh() == ["01_first", "02_second"]

    # The second counts as current until the first, which it reads, has other results
    touch(first, first.read_text() + "\n# %%\n2 + 2\n")
    assert fresh() == ["02_second"]
    run("01_first")
    assert fresh() == ["01_first"]

    # The text that counts is the one that is executed, not one edited in the meantime
    nb = plan(root)["01_first"]
    before = notebooks.key(nb, figures)
    touch(first, first.read_text() + "\n# %%\n3 + 3\n")
    assert notebooks.key(nb, figures) == before
    assert notebooks.key(plan(root)["01_first"], figures) != before
    run("01_first")

    # Before an execution, so that a failed one is not taken for the one before
    notebooks.forget(plan(root)["01_first"], figures)
    assert fresh() == []
    assert not (figures / "notebooks" / "01_first.ipynb").exists()


def executed(*outputs: NotebookNode) -> NotebookNode:
    r"""Makes a notebook as papermill leaves it."""
    cells = [
        nbformat.v4.new_markdown_cell("# A claim", id="01_a-00", metadata={"tags": []}),
        nbformat.v4.new_code_cell(
            "print(1)",
            id="01_a-01",
            execution_count=1,
            outputs=list(outputs),
            metadata={
                "tags": ["nbval-check-output"],
                "execution": {"iopub.execute_input": "2026-11-20T07:00:00Z"},
                "papermill": {"duration": 0.1, "status": "completed"},
            },
        ),
    ]
    metadata = {
        "kernelspec": {"display_name": "mine", "language": "python", "name": "mine"},
        "language_info": {"name": "python", "version": "3.11.7"},
        "papermill": {"input_path": "/home/me/01_a.ipynb", "version": "2.7.0"},
        "smile": {"check": "strict"},
    }
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def stream(name: str, text: str) -> NotebookNode:
    return nbformat.v4.new_output("stream", name=name, text=text)


def test_picture() -> None:
    nb = nbformat.reads(notebooks.picture(executed(stream("stdout", "1\n"))), as_version=4)

    assert nb.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "smile": {"check": "strict"},
    }
    assert [cell.id for cell in nb.cells] == ["01_a-00", "01_a-01"]
    assert [cell.metadata for cell in nb.cells] == [{}, {"tags": ["nbval-check-output"]}]
    assert nb.cells[1].execution_count == 1
    assert nb.cells[1].outputs == [stream("stdout", "1\n")]


def test_picture_reduces_images() -> None:
    # Up to 256 colours nothing is lost
    gray = np.arange(256, dtype=np.uint8).repeat(9).reshape(48, 48)
    image, buffer = PIL.Image.fromarray(gray).convert("RGB"), io.BytesIO()
    image.save(buffer, format="png", compress_level=0)
    png = base64.b64encode(buffer.getvalue()).decode()
    output = nbformat.v4.new_output("display_data", data={"image/png": png})

    nb = nbformat.reads(notebooks.picture(executed(output)), as_version=4)
    reduced = base64.b64decode(nb.cells[1].outputs[0].data["image/png"])
    assert len(reduced) < len(buffer.getvalue()) / 3
    restored = PIL.Image.open(io.BytesIO(reduced)).convert("RGB")
    assert np.array_equal(np.asarray(restored), np.asarray(image))


def test_picture_refused() -> None:
    with pytest.raises(ValueError, match=r"01_a-01 wrote to the error stream.\nDeprecated"):
        notebooks.picture(executed(stream("stdout", "1"), stream("stderr", "Deprecated")))

    error = nbformat.v4.new_output("error", ename="KeyError", evalue="'M'", traceback=[])
    with pytest.raises(ValueError, match=r"01_a-01 failed. KeyError: 'M'"):
        notebooks.picture(executed(error))

    # nbval would pass this cell without a look at its output
    nb = executed()
    nb.cells[1].execution_count = None
    with pytest.raises(ValueError, match=r"01_a-01 was not executed"):
        notebooks.picture(nb)

    nb = executed()
    nb.cells[1].metadata.tags = ["injected-parameters"]
    with pytest.raises(ValueError, match=r"Other parameters than the defaults"):
        notebooks.picture(nb)
