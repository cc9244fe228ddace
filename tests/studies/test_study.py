r"""Tests for the smile_core.studies.study module."""

import json
import nbformat
import os
import pytest
import signal
import subprocess
import sys
import textwrap
import time
import torch

from collections.abc import Callable
from pathlib import Path
from typing import Any

from smile_core.studies import study as module
from smile_core.studies.study import hash_sources, study, watch


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "cache"


# Experiments, which leave a line for every call


def called(text: str) -> None:
    with Path(os.environ["CALLS"]).open("a") as file:
        file.write(f"{text}\n")


def count_calls() -> int:
    path = Path(os.environ["CALLS"])
    return len(path.read_text().splitlines()) if path.exists() else 0


def square(x: float, seed: int = 0) -> dict[str, Any]:
    called(f"{x}")
    if x < 0:
        raise ValueError(f"x should not be negative, got {x}.")
    return {"square": x * x if x < 100 else float("nan"), "list": [x, x], "none": None}


def describe(scene: str) -> dict[str, Any]:
    called(scene)
    return {"length": len(scene)}


def live(how: str) -> dict[str, Any]:
    called(f"{how} {os.getpid()}")
    if how == "raises":
        raise ValueError("No such luck.")
    if how == "dies":
        os._exit(1)
    if how == "waits":
        time.sleep(60)
    if how == "is large":
        torch.ones(300, 2**18).sum()
    command = [sys.executable, "-c", "import os; print(os.environ['OMP_NUM_THREADS'])"]
    return {
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
        "environment": subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout.strip(),
    }


def interrupt(x: int) -> dict[str, Any]:
    called(f"{x}")
    if x == 2 and count_calls() == 3:
        raise KeyboardInterrupt
    return {"x": x}


def allocate(megabytes: int) -> dict[str, Any]:
    return {"sum": float(torch.ones(megabytes, 2**18).sum())}


def rename(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds}


# What is done once


def test_rows(cache: Path) -> None:
    cases = [{"x": x, "seed": 1} for x in (3, 1, 2, 3)]
    table = study(square, cases)

    # A row per case, in their order, and a file per result
    assert table["square"].tolist() == [9, 1, 4, 9]
    assert table["x"].tolist() == [3, 1, 2, 3]
    assert table["list"].tolist()[0] == [3, 3]
    assert table[["none", "failed"]].isna().all(axis=None)
    files = sorted(cache.iterdir())
    assert len(files) == count_calls() == 3

    # What a file says
    entries = [json.loads(path.read_text()) for path in files]
    assert sorted(entry["result"]["square"] for entry in entries) == [1, 4, 9]
    for entry in entries:
        assert entry["experiment"] == f"{__name__}.square"
        assert entry["seed"] == entry["case"]["seed"] == 1
        assert entry["device"] in ("cpu", "cuda:0", "cuda", "mps")
        assert entry["versions"]["torch"] == torch.__version__
        assert entry["seconds"] >= 0
        assert {"date", "machine", "commit", "dirty", "memory"} <= set(entry)

    # Again, and some more
    again = study(square, cases)
    assert again.equals(table)
    assert count_calls() == 3
    assert study(square, [*cases, {"x": 4}])["square"].tolist() == [9, 1, 4, 9, 16]
    assert count_calls() == 4
    assert study(square, []).empty


def test_case_comes_back_as_it_went() -> None:
    r"""Tests that tuples do not make another row of what was computed before."""
    first, second = (study(rename, [{"seconds": (1, 2)}]) for _ in range(2))
    assert first["seconds"].tolist() == second["seconds"].tolist() == [[1, 2]]


def test_result_replaces_column() -> None:
    assert study(rename, [{"seconds": 12.5}])["seconds"].tolist() == [12.5]


def test_damaged_result_is_computed_again(cache: Path) -> None:
    study(square, [{"x": 3}])
    [path] = cache.iterdir()
    whole = path.read_text()

    for damaged in ("", whole[:-20], "[]", "{}", "\x00"):
        path.write_text(damaged)
        assert study(square, [{"x": 3}])["square"].tolist() == [9]
        assert json.loads(path.read_text())["result"] == json.loads(whole)["result"]
    assert count_calls() == 6


def test_without_a_place_for_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SMILE_CACHE", str(tmp_path / "file" / "cache"))

    assert study(square, [{"x": 3}])["square"].tolist() == [9]


def test_key(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sources, by name or by case
    study(square, [{"x": 3}])
    study(square, [{"x": 3}], sources=["mixing"])
    study(square, [{"x": 3}], sources=lambda x: ["metrics"] if x == 3 else [])
    assert count_calls() == 3
    study(square, [{"x": 3}], sources=["mixing"])
    study(square, [{"x": 3}], sources=lambda x: ["mixing"])
    assert count_calls() == 3
    with pytest.raises(ModuleNotFoundError):
        study(square, [{"x": 3}], sources=["no_such_module"])

    # Data
    study(describe, [{"scene": "samson"}, {"scene": "unknown"}])
    assert count_calls() == 5
    changed = {"samson": "1"}
    monkeypatch.setattr(module, "fingerprint", lambda name: changed.get(name, "0"))
    study(describe, [{"scene": "samson"}])
    study(describe, [{"scene": "samson"}])
    assert count_calls() == 6
    changed["samson"] = "2"
    study(describe, [{"scene": "samson"}])
    assert count_calls() == 7


def test_hash_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def hash_of(source: str) -> str:
        (tmp_path / "some_module.py").write_text(source)
        hash_sources.cache_clear()
        return hash_sources("some_module")

    source = 'r"""One."""\n\ndef f(x):\n    """Two."""\n    return x + 1  # three\n'
    same = "def f(x):\n\n    'Another'\n    return (x + 1)\n"
    assert hash_of(source) == hash_of("'Other'\n" + same)
    assert hash_of(source) != hash_of(source.replace("+ 1", "+ 2"))

    # The version of torch counts, its build does not
    before, version = hash_of(source), torch.__version__.partition("+")[0]
    monkeypatch.setattr(torch, "__version__", f"{version}+other")
    assert hash_of(source) == before
    monkeypatch.setattr(torch, "__version__", f"{version}.1")
    assert hash_of(source) != before


# What fails


def test_failures() -> None:
    cases = [{"x": x} for x in (-1, 100, 2)]
    table = study(square, cases)
    assert table["failed"].tolist()[:2] == [
        "ValueError: x should not be negative, got -1.",
        "ValueError: The number 'square' should be finite, not nan.",
    ]
    assert table["failed"].isna().tolist() == [False, False, True]
    assert table["square"].isna().tolist() == [True, True, False]
    assert (table["seconds"] >= 0).all()

    # They stay as they are, unless asked for
    assert count_calls() == 3
    assert study(square, cases).equals(table)
    assert count_calls() == 3
    study(square, cases, retry=True)
    assert count_calls() == 5


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="at the top of a module"):
        study(lambda x: {"x": x}, [{"x": 1}])
    with pytest.raises(ValueError, match="jobs should be at least 1, got 0"):
        study(square, [{"x": 1}], jobs=0)
    for value in (torch.zeros(2), float("nan")):
        with pytest.raises(TypeError, match="what JSON can hold"):
            study(square, [{"x": value}])
    assert count_calls() == 0


def test_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    cases = [{"how": how} for how in ("a", "dies", "is large", "raises", "b", "c")]
    table = study(live, cases, jobs=2)

    # The case that its worker died of is the only one lost with it
    assert table["failed"].isna().tolist() == [True, False, True, False, True, True]
    assert "process of this case died" in table["failed"][1]
    assert table["failed"][3] == "ValueError: No such luck."
    assert count_calls() == 6

    # Two at a time and one in place of the dead: workers are kept, on one thread each
    done = table[table["failed"].isna()]
    assert done["pid"].nunique() <= 3
    assert os.getpid() not in done["pid"].tolist()
    assert done["threads"].tolist() == [1] * 4
    assert done["environment"].tolist() == ["1"] * 4

    # Memory is that of each case by itself
    if sys.platform == "linux":
        memory = table.set_index("how")["memory"]
        assert memory["is large"] - memory.drop("is large").max() == pytest.approx(300, abs=90)

    # Nobody stays behind
    for pid in done["pid"].unique():
        assert not is_alive(int(pid))


def test_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests the same on a cluster, where the death of a worker is not that of its case."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    dask = pytest.importorskip("dask", reason="dask is not installed")
    cases = [{"how": how} for how in ("a", "dies", "raises", "b", "c")]
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(**options) as cluster,
    ):
        monkeypatch.setenv("SMILE_SCHEDULER", cluster.scheduler_address)
        table = study(live, cases)
    assert table["failed"].isna().tolist() == [True, False, False, True, True]
    assert "process of this case died" in table["failed"][1]
    assert table["failed"][2] == "ValueError: No such luck."

    done = table[table["failed"].isna()]
    assert os.getpid() not in done["pid"].tolist()
    assert done["threads"].tolist() == [1] * 3
    assert done["machine"].notna().all()

    # Without the cluster, nothing is left to do
    monkeypatch.delenv("SMILE_SCHEDULER")
    calls = count_calls()
    assert study(live, cases)["pid"].tolist()[3:] == table["pid"].tolist()[3:]
    assert count_calls() == calls


# What is interrupted


def is_alive(pid: int) -> bool:
    # The dead that nobody has buried yet are not
    state = ["ps", "-o", "state=", "-p", str(pid)]
    return subprocess.run(state, stdout=subprocess.PIPE, text=True).stdout.strip() not in ("", "Z")


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "It takes too long."
        time.sleep(0.02)


def test_interrupted_study_resumes(cache: Path) -> None:
    cases = [{"x": x} for x in range(4)]
    with pytest.raises(KeyboardInterrupt):
        study(interrupt, cases)
    assert len(list(cache.iterdir())) == 2
    assert count_calls() == 3

    assert study(interrupt, cases)["x"].tolist() == [0, 1, 2, 3]
    assert count_calls() == 5


SCRIPT = """
from smile_core.studies.study import study
from test_study import live

study(live, [{"how": "waits"}], jobs=2)
"""


def start(path: Path, text: str) -> subprocess.Popen:
    # Where the tests run in the background of a shell, what they start is deaf to Ctrl-C
    hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    path.write_text(hear + text)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, str(path)]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, start_new_session=True)


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_study(ending: signal.Signals, tmp_path: Path, cache: Path) -> None:
    guarded = SCRIPT.replace("study(", "if __name__ == '__main__':\n    study(")
    with start(tmp_path / "script.py", guarded) as process:
        wait_until(lambda: count_calls() == 1)
        worker = int((tmp_path / "calls").read_text().split()[1])
        assert worker != process.pid
        assert is_alive(worker)

        # Ctrl-C reaches parent and worker at once, what kills the parent does not
        (os.killpg if ending == signal.SIGINT else os.kill)(process.pid, ending)
        assert process.wait(timeout=30) == -ending
        wait_until(lambda: not is_alive(worker))
    assert not cache.exists()


def test_script_without_guard(tmp_path: Path, cache: Path) -> None:
    with start(tmp_path / "script.py", SCRIPT) as process:
        assert b"A worker of the study could not be started" in process.communicate()[1]
    assert process.returncode == 1
    assert not cache.exists()


def test_notebook(tmp_path: Path) -> None:
    r"""Tests that workers start from a kernel, whose main module is no file."""
    source = """
    from smile_core.studies.study import study
    from test_study import square

    print(study(square, [{"x": 3}], jobs=2)["square"].tolist())
    """
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(source))])
    nbformat.write(nb, tmp_path / "nb.ipynb")
    command = ["papermill", "nb.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    command += ["--cwd", str(Path(__file__).parent)]
    subprocess.run([sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, check=True)

    [output] = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs
    assert output["text"] == "[9]\n"


# What is watched


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is known on Linux")
def test_memory() -> None:
    low, high, after = study(allocate, [{"megabytes": m} for m in (1, 300, 2)])["memory"]

    # Of each case by itself
    assert high - min(low, after) == pytest.approx(300, abs=60)
    assert after < high - 200


def test_watch() -> None:
    with watch() as usage:
        time.sleep(0.2)
    assert 0.2 <= usage.seconds < 2

    # Also of what raises
    with pytest.raises(ValueError), watch() as usage:
        time.sleep(0.2)
        raise ValueError
    assert usage.seconds >= 0.2


def test_memory_where_it_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FORGET", tmp_path / "none" / "clear_refs")
    assert study(square, [{"x": 1}])["memory"].isna().all()


def test_progress() -> None:
    seen = []
    study(square, [{"x": 1}])
    study(square, [{"x": x} for x in (1, 2, 3)], progress=lambda *args: seen.append(args))
    assert seen == [("square", 1, 2), ("square", 2, 2)]
