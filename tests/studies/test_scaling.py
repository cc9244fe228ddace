r"""Tests for the smile_core.studies.scaling module."""

import numpy as np
import pandas as pd
import pytest
import torch

from smile_core.studies.machine import Work, floor, measure
from smile_core.studies.scaling import (
    STAGES,
    Size,
    exponents,
    memory,
    profile,
    scene,
    slope,
    solving,
    stages,
    sweep,
)

SMALL = Size(side=12, bands=20, endmembers=3, restarts=2)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_slope(exponent: float) -> None:
    # Power laws, whatever their unit
    x = np.array([1, 3, 10, 70])
    assert slope(x, 0.2 * x**exponent) == pytest.approx(exponent, abs=1e-12)

    # Errors that cancel out in logarithms
    assert slope([1, 1, 4, 4], [0.5, 2.0, 8.0, 2.0]) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "x, y", [([1, 2], [1]), ([2, 2], [1, 2]), ([0, 1], [1, 2]), ([1, 2], [1, float("nan")])]
)
def test_slope_raises(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="with two different sizes"):
        slope(x, y)


def test_scene() -> None:
    image, M = scene(SMALL)
    assert image.shape == (20, 12, 12) and M.shape == (20, 3)
    torch.testing.assert_close(M.norm(dim=0), torch.ones(3))
    assert (M >= 0).all()

    # The same again, and another one for another seed
    assert torch.equal(image, scene(SMALL)[0])
    assert not torch.equal(image, scene(SMALL, seed=1)[0])

    # Mixtures up to the noise, 1 % of the norm of a pixel
    left = image.flatten(1) - M @ torch.linalg.lstsq(M, image.flatten(1)).solution
    assert left.square().sum(dim=0).mean().sqrt().item() == pytest.approx(0.01, rel=0.2)


def test_profile() -> None:
    assert tuple(stages(SMALL)) == STAGES
    rates = measure()
    table = profile(SMALL, rates, repeats=1, rounds=1, steps=1)
    assert tuple(table.index) == STAGES

    # Nothing is faster than its floor, be the machine as busy as it may
    assert (table["ratio"] > 1).all()
    for row in table.itertuples():
        assert row.floor == floor(Work(row.operations, row.moved), rates)
        assert row.ratio == pytest.approx(row.seconds / row.floor)


def test_sweep() -> None:
    table = sweep("bands", [10, 20], size=SMALL, repeats=1, rounds=1, steps=1)
    assert table.index.name == "bands"
    assert table.index.tolist() == [10, 20]
    assert tuple(table.columns) == STAGES
    assert (table > 0).all(axis=None)


def test_sweep_counted() -> None:
    # Of the operations of the constrained solve, all but a few are those of each pixel
    table = sweep("side", [20, 40, 80], size=SMALL, counted=True, rounds=1, steps=1)
    assert slope(table.index, table["solve"]) == pytest.approx(2, abs=0.05)

    # Twice the restarts, twice the work, whatever the machine does
    few, many = sweep("restarts", [20, 40], size=SMALL, counted=True)["endmembers"]
    assert many / few == pytest.approx(2, rel=0.1)


def test_exponents() -> None:
    x = np.array([1.0, 2.0, 8.0])
    costs = pd.DataFrame({"a": 5 * x, "b": x**2, "c": 0 * x + 7}, index=x)
    assert exponents(costs[["a", "b", "c"]]).drop("total").tolist() == pytest.approx([1, 2, 0])

    # A sum of like powers is one
    assert exponents(costs[["a", "a"]])["total"] == pytest.approx(1)


def test_solving() -> None:
    table = solving([100, 400], [2, 3], repeats=1, bands=5)
    assert table.index.tolist() == [100, 400]
    assert table.columns.tolist() == ["R = 2", "R = 3"]
    assert (table > 0).all(axis=None)


def test_memory() -> None:
    # No less than the image, and what the network sees of the four pairs of it brought down
    table = memory([64], rounds=1, steps=1)
    assert table.index.tolist() == [64**2]
    assert tuple(table.columns) == STAGES
    assert (table > 4 * 100 * 64**2).all(axis=None)
    assert table["training"].item() > 2 * 4 * 100 * 64**2
