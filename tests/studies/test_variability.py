r"""Tests for the smile_core.studies.variability module."""

import math
import pytest
import torch

from smile_core.studies.variability import count, vary
from smile_core.synthetic import synthetic


def test_vary() -> None:
    scene = synthetic(32, 3, snr=math.inf, seed=2)

    # Without variation, the scene itself
    torch.testing.assert_close(vary(scene, 0.0, math.inf), scene.image)

    # In pure pixels, smooth curves of the variance asked for
    x = vary(scene, 0.02, math.inf)
    k, rows, cols = (scene.a == 1).nonzero(as_tuple=True)
    m, rho = scene.M[:, k].double(), scene.brightness[rows, cols].double()
    deviation = x[:, rows, cols].double() / (rho * m) - 1
    assert len(k) > 50
    assert float(deviation.square().mean().sqrt()) == pytest.approx(0.02, rel=0.05)
    singular = torch.linalg.svdvals(deviation)
    assert singular[5] > 1e3 * singular[6]  # six of them, up to the rounding of float32

    # Of mean zero, from pixel to pixel
    assert abs(float(deviation.mean())) < 0.02 / 10

    # Noise of the level asked for
    noise = vary(scene, 0.0, 20.0).double() - scene.image
    level = 10 * torch.log10(scene.image.double().square().mean() / noise.square().mean())
    assert float(level) == pytest.approx(20, abs=0.05)

    # In patches, the variation of neighbours is nearly the same
    x = vary(scene, 0.02, math.inf, patch=8) / scene.image - 1
    near = (x[..., 1:] - x[..., :-1])[..., (scene.a == 1).any(dim=0)[:, 1:]]
    apart = deviation.std() * 2**0.5
    assert near.std() < 0.5 * apart

    # The seed
    assert torch.equal(vary(scene, 0.02, 30, seed=1), vary(scene, 0.02, 30, seed=1))
    assert not torch.equal(vary(scene, 0.02, 30, seed=1), vary(scene, 0.02, 30, seed=2))


def test_count() -> None:
    # Both rules are right where the model holds
    case = {"endmembers": 4, "snr": 40, "size": 48}
    assert count(**case) == {"smile": 4, "hysime": 4}

    # HySime counts dimensions, and variation has them
    assert count(**case, variability=0.03)["hysime"] > 8
