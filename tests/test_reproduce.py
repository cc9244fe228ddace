r"""Tests for the smile_core.reproduce module."""

import json
import nbformat
import os
import pytest
import re
import signal
import subprocess
import sys
import time

from pathlib import Path
from types import SimpleNamespace

from smile_core.notebooks import Notebook
from smile_core.reproduce import Job, Runner, main

HEADER = """\
# ---
# jupyter:
#   kernelspec: {{display_name: Python 3, language: python, name: python3}}
#   smile: {{{smile}}}
# ---

# %% [markdown]
# # A claim

# %% tags=["parameters"]
{parameters}
figures: str = "../figures/quick"  # folder of the results

"""

CLAIM = """\
# %%
from smile_core.record import Record

record = Record("01_claim", figures, seed=0)
too_long = "This sentence is too long for one line of the table."
record.claim(too_long, number="1 rad", holds=True, source="ours")
record.claim("This one is wrong.", number="2 rad > 1 rad", holds=False, source="paper (abstract)")
_ = record.save()
"""


@pytest.fixture(autouse=True)
def scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Puts scenes in the place of the real ones, of which none can be had."""
    module = SimpleNamespace(available=lambda name: False, fingerprint=str, HOW_TO_GET="Go there.")
    monkeypatch.setitem(sys.modules, "smile_core.scenes", module)


def write(root: Path, name: str, cells: str, smile: str = "", parameters: str = "") -> None:
    path = root / "notebooks" / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEADER.format(smile=smile, parameters=parameters) + cells)


def outputs(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    found = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join(output.get("text", "") for output in found)


def test_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "01_claim", CLAIM)
    write(tmp_path, "02_fails", "# %%\nprint('so far')\n1 / 0\n\n# %%\nprint('never')\n")
    write(tmp_path, "03_reads_02", "# %%\n1\n", "after: [02_fails]")
    write(tmp_path, "04_lacks_data", "# %%\n1\n", "needs: [mars]")
    write(
        tmp_path,
        "05_falls_back",
        "# %%\nfrom pathlib import Path\nprint(scene, Path(figures, '01_claim.json').exists())\n",
        "after: [01_claim, 04_lacks_data], needs: [mars], fallback: {scene: synthetic}",
        'scene: str = "mars"',
    )

    figures = tmp_path / "figures" / "quick"
    assert main(["--jobs", "2"], tmp_path) == 1
    out = capsys.readouterr().out

    # Progress
    assert re.search(r"\[1/5\] 01_claim  done  \d+ s", out)
    assert re.search(r"\[2/5\] 02_fails  FAILED after \d+ s", out)
    assert re.search(r"\[\d/5\] 03_reads_02  not run, since it comes after 02_fails", out)
    assert re.search(r"\[\d/5\] 04_lacks_data  skipped for want of data: mars", out)
    assert re.search(r"\[\d/5\] 05_falls_back  done", out)

    # The traceback of the failing cell, and what ran before it
    assert "In cell 02_fails-02:" in out
    assert "ZeroDivisionError: division by zero" in out
    assert outputs(figures / "notebooks" / "02_fails.ipynb") == "so far\n"

    # After what it reads, with its fallback
    assert outputs(figures / "notebooks" / "05_falls_back.ipynb") == "synthetic True\n"

    # What came to an end, and nothing else
    names = sorted(path.name for path in (figures / "notebooks").iterdir())
    assert names == [
        "01_claim.ipynb",
        "01_claim.key",
        "02_fails.ipynb",
        "05_falls_back.ipynb",
        "05_falls_back.key",
    ]
    assert sorted(path.name for path in figures.iterdir()) == ["01_claim.json", "notebooks"]

    # The table
    table = out[out.index("\nclaim ") :]
    assert re.search(r"This sentence is too long .*  1 rad +holds +01_claim\n", table)
    assert re.search(r"This one is wrong\. +2 rad > 1 rad +does not hold +01_claim\n", table)
    assert max(map(len, table.splitlines())) <= 100
    assert "04_lacks_data was skipped for want of data: mars." in table
    assert "05_falls_back ran on its fallback for want of data: mars." in table
    assert "Go there." in table

    # Again: nothing but what failed is run
    assert main(["--only", "01,02,05"], tmp_path) == 1
    out = capsys.readouterr().out
    assert "[1/3] 01_claim  up to date" in out
    assert "[2/3] 02_fails  FAILED" in out
    assert "[3/3] 05_falls_back  up to date" in out
    assert "does not hold" in out


def test_full(tmp_path: Path) -> None:
    parameters = "a: float = 1.0\nb: bool = False\nc: list = []\nd: str = 'x'\ne: int = 1"
    write(tmp_path, "01_values", "# %%\nprint([a, b, c, d, e, figures])\n", "", parameters)
    (tmp_path / "notebooks" / "full.yaml").write_text(
        "01_values: {a: 1.0e-5, b: true, c: [1, [x, null]], d: 'true', e: -2}"
    )

    # Values arrive as they are, whatever their text looks like
    assert main(["--profile", "full"], tmp_path) == 0
    assert outputs(tmp_path / "figures" / "full" / "notebooks" / "01_values.ipynb") == (
        "[1e-05, True, [1, ['x', None]], 'true', -2, '../figures/full']\n"
    )


def test_publish(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "01_a", "# %%\nimport os\nprint(os.getcwd().endswith('notebooks'))\n")
    write(tmp_path, "02_warns", "# %%\nimport sys\nprint('hm', file=sys.stderr)\n")
    write(tmp_path, "03_lacks_data", "# %%\n1\n", "needs: [mars]")

    # What writes to the error stream is not for readers
    assert main(["--publish"], tmp_path) == 1
    out = capsys.readouterr().out
    assert "01_a.ipynb is refreshed." in out
    assert "02_warns.ipynb is left as it was. Cell 02_warns-02 wrote to the error stream" in out
    assert "03_lacks_data.ipynb is left as it was: no data." in out
    assert [p.name for p in (tmp_path / "notebooks").glob("*.ipynb")] == ["01_a.ipynb"]

    path = tmp_path / "notebooks" / "01_a.ipynb"
    assert outputs(path) == "True\n"
    text, written = path.read_text(), path.stat().st_mtime_ns

    # Another execution has the same outputs
    assert main(["--publish", "--force", "--only", "01"], tmp_path) == 0
    assert "01_a.ipynb has not changed." in capsys.readouterr().out
    assert (path.read_text(), path.stat().st_mtime_ns) == (text, written)


def test_interrupted(tmp_path: Path) -> None:
    write(tmp_path, "01_a", "# %%\n1\n")
    sleep = "# %%\nimport os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\n"
    write(tmp_path, "02_b", f"{sleep}time.sleep(100)\n", "after: [01_a]")
    write(tmp_path, "03_c", "# %%\n1\n", "after: [02_b]")

    # A shell that starts the tests in the background has them ignore the interrupt
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "import sys, pathlib; from smile_core.reproduce import main; sys.exit(main([], {}))"
    command = [sys.executable, "-c", code.format(f"pathlib.Path({str(tmp_path)!r})")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pid = tmp_path / "notebooks" / "pid"
        while not (pid.exists() and pid.read_text()):
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Interrupted. Done: 01_a." in out
    assert "resumes" in out

    # The next run begins with the one that was interrupted
    figures = tmp_path / "figures" / "quick"
    assert [path.name for path in (figures / "notebooks").glob("*.key")] == ["01_a.key"]

    # No kernel is left behind
    for _ in range(100):
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            break
        time.sleep(0.1)
    else:
        pytest.fail("The kernel still runs, ten seconds later.")


def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, "01_a", "# %%\n1\n", "fallback: {stpes: 1}")

    # Before anything is run or made
    assert main([], tmp_path) == 2
    assert "01_a.py has no parameters ['stpes']" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notebooks"]

    # A folder that cannot be written to
    write(tmp_path, "01_a", "# %%\n1\n")
    (tmp_path / "figures").write_text("")
    assert main([], tmp_path) == 2
    assert "cannot be written to" in capsys.readouterr().err

    for argv in (["--jobs", "0"], ["--publish", "--profile", "full"], ["--profile", "none"]):
        with pytest.raises(SystemExit) as stopped:
            main(argv, tmp_path)
        assert stopped.value.code == 2


def test_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    threads = [Runner({}, tmp_path, jobs=n).env["OMP_NUM_THREADS"] for n in (1, 2, 3, 8)]
    assert threads == ["2", "2", "1", "1"]

    # What the user has set stands
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    assert Runner({}, tmp_path).env["OMP_NUM_THREADS"] == "16"


def test_progress(tmp_path: Path) -> None:
    source = tmp_path / "01_a.py"
    notebook = Notebook(source, source, [], {}, False, {})
    path = tmp_path / "01_a.ipynb"
    job = Job(notebook, "[2/5] 01_a", "", path, None, None, time.monotonic() - 12)

    # Not yet begun, then half written
    assert str(job) == "[2/5] 01_a  12 s"
    path.write_text('{"cells": [')
    assert str(job) == "[2/5] 01_a  12 s"

    for states, cell in (
        (["running", "pending", "pending"], "1/3"),
        (["completed", "running", "pending"], "2/3"),
        (["completed"] * 3, "3/3"),
    ):
        cells = [{"metadata": {"papermill": {"status": state}}} for state in states]
        path.write_text(json.dumps({"cells": cells}))
        assert str(job) == f"[2/5] 01_a  cell {cell}  12 s"
