r"""Tests for the smile_core.studies.calibration module."""

import pytest
import torch

from dataclasses import replace

from smile_core.scenes import synthetic
from smile_core.studies.calibration import LEVELS, SETTINGS, cover, covered, truth
from smile_core.uncertainty import Spread

QUICK = {"size": 24, "members": 6, "restarts": 8, "rounds": 30}


def make_spread(a: torch.Tensor, M: torch.Tensor, noise: float, factor: float) -> Spread:
    r"""Makes the spread of a Gaussian error, all of which is that of noise."""
    return Spread(
        M=M + noise * torch.randn_like(M),
        M_spread=torch.full_like(M, noise),
        a=a + noise * torch.randn_like(a),
        a_spread=torch.full_like(a, noise),
        a_noise=torch.zeros_like(a),
        convention="share",
        misfit=torch.ones(1),
        factor=factor,
    )


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_errors_are_covered_as_stated(level: float) -> None:
    r"""Tests the count where errors are Gaussian, and stated right or as half of what they are."""
    a, M = torch.full((4, 80, 80), 0.5), torch.full((2000, 4), 0.5)
    spread = make_spread(a, M, 0.02, 1.0)
    normal = torch.distributions.Normal(0.0, 1.0)
    for factor in (1.0, 0.5):
        expected = 2 * normal.cdf(factor * normal.icdf(torch.tensor((1 + level) / 2))) - 1
        for inside in covered(replace(spread, factor=factor), a, M, level):
            assert float(inside.double().mean()) == pytest.approx(float(expected), abs=0.015)


def test_truth_is_in_order() -> None:
    r"""Tests that endmembers and abundances that are found in another order are put in place."""
    scene = synthetic(12, 4, brightness="off", seed=2)
    order = torch.tensor([2, 0, 3, 1])
    x = make_spread(scene.a[order], 5 * scene.M[:, order], 0.0, 1.0)
    a, M = truth(scene, replace(x, convention="plain"))
    assert torch.equal(a, scene.a[order]) and torch.equal(M, scene.M[:, order])
    a, M = truth(scene, x)
    torch.testing.assert_close(M.norm(dim=0), torch.ones(4))
    assert not torch.equal(a, scene.a[order])  # shares of light, not of area


def test_cover() -> None:
    r"""Tests that intervals of a scene that the factor was not chosen on hold the truth."""
    row = cover(seed=7, **SETTINGS["fixed brightness"], **QUICK)
    for what in ("a", "M", "raw.a", "raw.M"):
        counts = [row[f"{what}.{100 * level:.0f}"] for level in LEVELS]
        assert counts == sorted(counts) and 0 < counts[0] and counts[-1] <= 1
    assert row["a.90"] > 0.8 and row["M.90"] > 0.6
    assert row["raw.a.90"] < row["a.90"]
    assert 0 < row["armse"] < 2 * row["std"]
    assert 0 < row["rank"] < 1 and row["factor"] < 6
