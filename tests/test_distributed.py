r"""Tests for the smile_core.distributed module."""

import operator
import os
import pytest
import signal
import sys
import time

from pathlib import Path

from smile_core.distributed import compute, connect


def test_here() -> None:
    r"""Tests that without a client tasks are done in order, each when it is asked for."""
    seen = []
    results = compute(seen.append, {name: (name,) for name in "abc"})
    assert next(results) == ("a", None) and seen == ["a"]
    assert [key for key, _ in results] == ["b", "c"] and seen == ["a", "b", "c"]


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that the extra is named where the package is not installed."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match=r"smile-companion\[distributed\]"), connect("local"):
        pass


def nap(folder: str, name: str) -> int:
    r"""Leaves the number of its process, sleeps, and returns that number."""
    (Path(folder) / f"{name}-{os.getpid()}").touch()
    time.sleep(0.3)

    return os.getpid()


@pytest.fixture(scope="module")
def client():
    r"""A cluster of two processes on this machine."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        yield client


def test_cluster(client) -> None:
    r"""Tests results against plain Python."""
    tasks = {i: (i, i + 1) for i in range(20)}
    assert dict(compute(operator.mul, tasks, client)) == {i: i * (i + 1) for i in range(20)}


def test_failure(client) -> None:
    r"""Tests that what a task raises, the caller gets."""
    with pytest.raises(ZeroDivisionError):
        dict(compute(operator.truediv, {1: (1, 1), 0: (1, 0)}, client))


def test_few_at_a_time(client, tmp_path: Path) -> None:
    r"""Tests that tasks wait until results are taken."""
    results = compute(nap, {i: (str(tmp_path), str(i)) for i in range(30)}, client)
    next(results)
    time.sleep(1.0)
    assert len(list(tmp_path.iterdir())) <= 5
    results.close()


def test_killed_worker(client, tmp_path: Path) -> None:
    r"""Tests that a worker that is killed costs its tasks only: others do them again."""
    victim, killed = None, 0
    results = {}
    for name, pid in compute(nap, {i: (str(tmp_path), str(i)) for i in range(12)}, client):
        results[name] = pid
        if len(results) == 3:
            victim, killed = pid, len(list(tmp_path.iterdir()))
            os.kill(victim, signal.SIGKILL)

    assert sorted(results) == list(range(12))
    assert len(set(results.values()) - {victim}) >= 1
    # Done twice is what the victim had begun, and no more
    assert 12 <= len(list(tmp_path.iterdir())) <= 14 and killed >= 3


def die(how: str) -> str:
    r"""Takes its process with it, or takes a moment."""
    if how == "dies":
        os._exit(1)
    time.sleep(0.1)

    return how


@pytest.mark.parametrize("lost", [None, "lost"])
def test_deadly_task(lost: str | None) -> None:
    r"""Tests that the neighbours of a task that kills its workers are done, and it is told."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    dask = pytest.importorskip("dask", reason="dask is not installed")
    tasks = {name: (name,) for name in ("a", "dies", "b", "c", "d")}
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
    ):
        if lost is None:
            with pytest.raises(distributed.KilledWorker):
                dict(compute(die, tasks, client))
            return
        results = dict(compute(die, tasks, client, lost=lost))
    assert results == {"a": "a", "b": "b", "c": "c", "d": "d", "dies": "lost"}
