r"""Studies: one experiment on many cases, each case computed once.

An experiment is a function at the top of a module that takes what JSON can hold, such as the name
of a scene, that of a method and a seed, and returns a flat dictionary of numbers and texts:

    study(compare, [{"scene": "samson", "method": "vca", "seed": k} for k in range(10)])

Each result is a file of its own, named by a hash of all that it depends on. A study that was
interrupted resumes where it stopped, and loses what was being computed. A case that raises, does
not return finite numbers, or takes its process with it is a row marked as failed, with the reason.

With more than one job, each worker is a process of its own that computes one case after the other
on one thread: the death of one is the failure of its case alone. On a cluster, other workers do
what a lost one has left.
"""

__all__ = ["PACKAGE", "Usage", "hash_sources", "keep_in", "study", "watch"]

import ast
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import pandas as pd
import platform
import signal
import threading
import time
import torch

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from ..data import cache
from ..distributed import compute, connect
from ..progress import Progress, bars
from ..record import check_finite, find_commit, find_version, make_plain, replacing
from ..scenes import SCENES, fingerprint
from ..unmixing import find_device

Case = Mapping[str, Any]

#: The name of this package.
PACKAGE = __name__.partition(".")[0]

# Where Linux tells the peak of the memory, and is told to forget it
STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


# What became of a case that took its process with it
DIED = {
    "result": None,
    "failed": "The process of this case died, perhaps for want of memory.",
    "device": None,
}


@dataclass
class Usage:
    r"""What a block of code has taken, see `watch`.

    Args:
        seconds: The time.
        memory: The largest resident memory of the process in MB, all that it held before
            included; `None` where the system does not tell, as Linux does.
    """

    seconds: float = 0.0
    memory: float | None = None


def study(
    experiment: Callable[..., dict[str, Any]],
    cases: Sequence[Case],
    *,
    sources: Sequence[str] | Callable[..., Sequence[str]] = (),
    jobs: int = 1,
    retry: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    r"""Runs an experiment on every case that has no result yet, and returns all results.

    A result depends on the experiment, its module, the `sources`, the case, the file of its
    `scene`, and the version of torch. It does not depend on the machine, which the row names: a
    study can be put together from parts.

    Args:
        experiment: The function, at the top of a module. It is called with the case as keyword
            arguments, and returns a flat dictionary of what JSON can hold, `None` where there is
            no number. What it calls like a column of this function, as in `seconds`, replaces it.
        cases: The arguments of each call.
        sources: The names of the modules of the package that a result depends on, such as
            `mixing` or `baselines.geometric`; or a function of the case that returns them.
        jobs: The number of cases that run at once, in processes of their own if more than one.
            Where the environment variable `SMILE_SCHEDULER` names a cluster, see
            `smile_core.distributed.connect`, its workers run them, as many as they are.
        retry: Whether to run again what has failed.
        progress: Called with the name of the experiment, the cases done and their number, those
            with a result left out. If `None`, a bar is drawn where the standard error is a
            terminal.

    Returns:
        A row per case, in their order: the case; the result; `failed`, the reason, or nothing;
        `seconds` and `memory`, see `Usage`; `device`, `machine`, `date` and `commit`.

    Raises:
        TypeError: If the experiment is not at the top of a module, or JSON cannot hold a case.
        ValueError: If `jobs` is not positive.
        RuntimeError: If no worker could be started.
    """
    if "<" in experiment.__qualname__ or experiment.__module__ == "__main__":
        raise TypeError(
            "The experiment should be a function at the top of a module, for workers to import "
            f"it, got '{experiment.__qualname__}' of '{experiment.__module__}'."
        )
    if jobs < 1:
        raise ValueError(f"jobs should be at least 1, got {jobs}.")

    cases = [_plain_case(case) for case in cases]
    paths = [_path(experiment, case, sources) for case in cases]
    entries = {path: _read(path) for path in paths}
    pending = {
        path: case
        for path, case in zip(paths, cases, strict=True)
        if entries[path] is None or (retry and entries[path]["failed"])
    }

    with bars() as show:
        show = progress or show or (lambda *_: None)
        about = _about() if pending else {}
        work = _compute_here if jobs == 1 else functools.partial(_compute_apart, jobs=jobs)
        if os.environ.get("SMILE_SCHEDULER"):
            work = _compute_on_cluster
        with contextlib.closing(work(experiment, pending)) as results:
            for done, (path, outcome) in enumerate(results, start=1):
                case = pending[path]
                entries[path] = {
                    "experiment": _name(experiment),
                    "case": case,
                    **about,
                    **outcome,
                    "seed": case.get("seed"),
                    "date": datetime.now(UTC).isoformat(timespec="seconds"),
                }
                _write(path, entries[path])
                show(experiment.__name__, done, len(pending))

    return pd.DataFrame([_row(entries[path]) for path in paths])


def keep_in() -> Path:
    r"""Returns the folder that results are kept in, which may not exist yet.

    It is the one that the environment variable `SMILE_CACHE` names, else the folder `fits` in the
    user's cache for this project. It may be deleted at any time.
    """
    return Path(os.environ.get("SMILE_CACHE") or cache() / "fits")


@functools.cache
def hash_sources(*names: str) -> str:
    r"""Hashes modules and the version of torch; comments, docstrings and layout do not count.

    Args:
        names: The full names of the modules.

    Returns:
        The hash, in hexadecimal.

    Raises:
        ModuleNotFoundError: If there is no such module.
    """
    digest = hashlib.sha256(torch.__version__.partition("+")[0].encode())  # of any build
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"There is no module '{name}' to depend on.")

        tree = ast.parse(Path(spec.origin).read_text("utf-8"))
        for node in ast.walk(tree):
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
            if isinstance(node, kinds) and ast.get_docstring(node) is not None:
                node.body[0] = ast.Pass()
        digest.update(f"{name}\n{ast.unparse(tree)}\n".encode())

    return digest.hexdigest()


@contextlib.contextmanager
def watch() -> Iterator[Usage]:
    r"""Measures time and memory of a block of code, of all that this process does in it.

    Of two blocks, one in the other, the outer one does not see the memory of what came before the
    inner one.

    Yields:
        What is filled in at the end.
    """
    usage = Usage()
    try:
        FORGET.write_text("5")
        known = True
    except OSError:  # not Linux, or not allowed
        known = False

    start = time.perf_counter()
    try:
        yield usage
    finally:
        usage.seconds = round(time.perf_counter() - start, 3)
        if known:
            lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
            usage.memory = round(int(lines["VmHWM"].split()[0]) / 1024, 1)


def _name(experiment: Callable[..., dict[str, Any]]) -> str:
    return f"{experiment.__module__}.{experiment.__name__}"


def _plain_case(case: Case) -> dict[str, Any]:
    # As it comes back from its file
    try:
        return json.loads(json.dumps(case, sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"A case should hold what JSON can hold, got {case}: {error}") from error


def _path(experiment: Callable[..., dict[str, Any]], case: dict[str, Any], sources: Any) -> Path:
    text = json.dumps(case)
    names = sources(**case) if callable(sources) else sources
    modules = {experiment.__module__, *(f"{PACKAGE}.{name}" for name in names)}
    scene = case.get("scene")
    data = fingerprint(scene if scene in SCENES else "synthetic")
    digest = hashlib.sha256(f"{_name(experiment)} {text} {data} {hash_sources(*modules)}".encode())

    return keep_in() / f"{experiment.__name__}-{digest.hexdigest()[:32]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # not there, or damaged
        return None

    return entry if isinstance(entry, dict) and "failed" in entry else None


def _write(path: Path, entry: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # where there is no place for results, none is kept
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            new.write_text(json.dumps(entry, indent=1, allow_nan=False) + "\n", "utf-8")


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("failed", "seconds", "memory", "device", "machine", "date", "commit")
    return {**entry["case"], **{name: entry[name] for name in names}, **(entry["result"] or {})}


def _about() -> dict[str, Any]:
    return {
        "machine": _machine(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": find_version("numpy"),
            "smile-companion": find_version("smile-companion"),
        },
        **find_commit(),
    }


def _compute(experiment: Callable[..., dict[str, Any]], case: Case) -> dict[str, Any]:
    # In the process that does the work
    result = failed = device = None
    with watch() as usage:
        try:
            device = str(find_device(case.get("device", "auto")))
            result = json.loads(json.dumps(experiment(**case), default=make_plain))
            check_finite(result, "")
        except Exception as error:  # whatever it is, it is what this row has to say
            result, failed = None, f"{type(error).__name__}: {error}"

    outcome = {"result": result, "failed": failed, "device": device, "machine": _machine()}

    return outcome | asdict(usage)


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def _compute_here(
    experiment: Callable[..., dict[str, Any]], pending: dict[Path, Case]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path, case in pending.items():
        yield path, _compute(experiment, case)


def _compute_apart(
    experiment: Callable[..., dict[str, Any]], pending: dict[Path, Case], jobs: int
) -> Iterator[tuple[Path, dict[str, Any]]]:
    waiting = list(pending.items())[::-1]
    idle: list[_Worker] = []
    running: dict[Future, tuple[_Worker, Path, float]] = {}

    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                worker = idle.pop() if idle else _Worker()
                with contextlib.suppress(BrokenProcessPool):  # it died without a case
                    future = worker.pool.submit(_compute, experiment, waiting[-1][1])
                    running[future] = (worker, waiting.pop()[0], time.perf_counter())

            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, path, start = running.pop(future)
                try:
                    outcome = future.result()
                    idle.append(worker)
                except BrokenProcessPool:
                    seconds = round(time.perf_counter() - start, 3)
                    outcome = DIED | asdict(Usage(seconds))
                yield path, outcome
    finally:
        for worker in [*idle, *(worker for worker, *_ in running.values())]:
            worker.stop()


def _compute_on_cluster(
    experiment: Callable[..., dict[str, Any]], pending: dict[Path, Case]
) -> Iterator[tuple[Path, dict[str, Any]]]:
    with connect(os.environ["SMILE_SCHEDULER"]) as client:
        tasks = {path: (experiment, case) for path, case in pending.items()}
        yield from compute(_compute, tasks, client, lost=DIED | asdict(Usage()))


class _Worker:
    # A pool of one, for whose death there is one case to blame

    def __init__(self) -> None:
        # Set before NumPy is loaded, which is when its threads are counted
        self.pool = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=os.putenv, initargs=("OMP_NUM_THREADS", "1")
        )
        try:
            self.pid = self.pool.submit(_begin).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "A worker of the study could not be started. In a script, what calls it should "
                "stand below \"if __name__ == '__main__':\", for workers import the script."
            ) from error

    def stop(self) -> None:
        with contextlib.suppress(OSError):  # it has died
            os.kill(self.pid, signal.SIGTERM)
        self.pool.shutdown()


def _begin() -> int:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    threading.Thread(target=_follow, daemon=True).start()

    return os.getpid()


def _follow() -> None:
    # However the parent ends, and whatever this process is at
    parent_process().join()
    os._exit(1)
