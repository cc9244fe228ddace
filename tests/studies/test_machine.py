r"""Tests for the smile_core.studies.machine module."""

import numpy as np
import pytest
import time
import torch

from smile_core.archetypes import archetypes
from smile_core.studies.machine import Rates, Work, count, floor, measure, peak_memory, time_best
from smile_core.studies.scaling import Size, scene


def test_time_best(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first run, which is slower, does not count; nor does what comes in the way
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    naps = iter([0.3, 0.05, 0.1])
    assert 0.05 <= time_best(lambda: time.sleep(next(naps)), repeats=2) < 0.1
    assert next(naps, None) is None


def test_time_best_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # While it sleeps, others have the processor
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert time_best(lambda: time.sleep(0.05), repeats=1) < 0.02

    def work() -> None:
        start = time.process_time()
        while time.process_time() < start + 0.03:
            pass

    assert 0.03 <= time_best(work, repeats=1) < 0.06


def test_measure() -> None:
    first, second = measure(), measure()

    # Twice about the same, on a machine that does other things as well
    for a, b in zip(first, second, strict=True):
        assert 1 / 3 < a / b < 3

    # A product by hand, of another size
    A = torch.ones(768, 768)
    took = time_best(lambda: A @ A, repeats=5)
    assert 1 / 4 < 2 * 768**3 / took / first.operations < 4


def test_floor() -> None:
    # Operations and bytes can go at the same time, hence the longer of the two
    rates = Rates(bandwidth=100.0, operations=10.0)
    assert floor(Work(operations=20.0, moved=100.0), rates) == 2.0
    assert floor(Work(operations=20.0, moved=300.0), rates) == 3.0


def test_count() -> None:
    # A product of 4 x 5 and 5 x 6: 120 multiplications with addition
    A, B = torch.ones(4, 5), torch.ones(5, 6)
    assert count(lambda: A @ B) == Work(240.0, 4.0 * (20 + 30 + 24))

    # In place as well
    C, D = torch.ones(2, 4, 5), torch.ones(2, 5, 6)
    assert count(lambda: torch.zeros(2, 4, 6).baddbmm_(C, D)).operations == 2 * 240

    # A view moves nothing, a sum reads two arrays and writes one
    x = torch.ones(7, 3, dtype=torch.float64)
    assert count(lambda: x.mT[1:]) == Work(0.0, 0.0)
    assert count(lambda: x + x.mT.mT) == Work(0.0, 8.0 * 3 * 21)

    # The gradient of a product takes two more
    W = torch.ones(4, 5, requires_grad=True)
    V = torch.ones(5, 6, requires_grad=True)
    assert count(lambda: (W @ V).sum().backward()).operations == 3 * 240


def test_count_of_archetypes() -> None:
    # Each round K (Y W): M, M'Y and M'M, Y A' and A A'; in each of its steps M'M A, and for
    # the other factor Y W, times A A', and Y' times the residual
    N, R, S, K, rounds, inner = 50, 3, 12, 2, 4, 5
    y = scene(Size(side=10, bands=20, endmembers=R))[0].flatten(1)[:, :N]
    options = {"restarts": K, "rounds": rounds, "inner": inner}
    once, twice = (
        count(lambda rounds=rounds: archetypes(y, R, **options | {"rounds": rounds})).operations
        for rounds in (rounds, 2 * rounds)
    )

    around = 3 * S * R * N + R * R * S + R * R * N
    step = R * R * N + S * R * N + S * R * R + S * R * N
    assert twice - once == 2 * K * rounds * (around + inner * step)


def test_peak_memory() -> None:
    # Of the function alone, though this process has held more
    held = np.ones(40_000_000)
    assert peak_memory(np.ones, 20_000_000) == pytest.approx(8 * 20_000_000, rel=0.05)
    assert held.nbytes > 2 * 8 * 20_000_000 - 1
