r"""Tests for the smile_core.counting module."""

import numpy as np
import pytest
import torch

from itertools import product
from torch import Tensor

from smile_core.counting import estimate_endmembers, hysime
from smile_core.studies.variability import count, vary
from smile_core.synthetic import synthetic


def mix(R: int, B: int = 30, size: int = 16, *, brightness: bool = True) -> Tensor:
    r"""Mixes random spectra, all of them in every pixel, without noise."""
    a = torch.distributions.Dirichlet(torch.ones(R).double()).sample((size, size))
    rho = 0.5 + 0.5 * torch.rand(size, size).double() if brightness else torch.ones(size, size)
    return torch.einsum("br,ijr,ij->bij", torch.rand(B, R).double(), a, rho)


def shuffle(image: Tensor) -> tuple[Tensor, Tensor]:
    r"""Returns the image with its pixels, and with its bands in another order."""
    B, h, w = image.shape
    pixels = image.flatten(1)[:, torch.randperm(h * w)].reshape(B, h, w)
    return pixels, image[torch.randperm(B)]


@pytest.mark.parametrize("R", range(1, 9))
@pytest.mark.parametrize("brightness", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noiseless(R: int, brightness: bool, dtype: torch.dtype) -> None:
    x = mix(R, brightness=brightness)
    assert torch.linalg.matrix_rank(x.flatten(1)) == R
    assert estimate_endmembers(x.to(dtype)) == R

    # As few pixels as bands
    x = mix(R, B=64, size=8, brightness=brightness)
    assert estimate_endmembers(x.to(dtype)) == R


@pytest.mark.parametrize("shape", [(20, 20, 20), (60, 32, 32), (60, 6, 6)])
@pytest.mark.parametrize("sigma", [0.01, 0.3])
def test_one_direction(shape: tuple[int, int, int], sigma: float) -> None:
    # Noise alone passes for a material in about one image of 200
    wrong = 0
    for _ in range(50):
        m, rho = 0.5 + torch.rand(shape[0], 1, 1), 0.5 + torch.rand(shape[1:])
        wrong += estimate_endmembers(rho * m + sigma * torch.randn(shape)) != 1
    assert wrong <= 2


@pytest.mark.parametrize("variability", [0.0, 0.03])
def test_invariance(variability: float) -> None:
    x = vary(synthetic(32, 4, seed=1), variability, snr=30)
    estimate = estimate_endmembers(x)
    assert estimate >= 4

    # The unit
    for factor in (1e-30, 1 / 3, 1e4, 1e30):
        assert estimate_endmembers(factor * x) == estimate

    # The order of pixels and bands
    for shuffled in shuffle(x):
        assert not torch.equal(shuffled, x)
        assert estimate_endmembers(shuffled) == estimate

    # Bands in units of their own
    factors = 10 ** torch.linspace(-2, 2, len(x))[torch.randperm(len(x)), None, None]
    assert abs(estimate_endmembers(factors * x) - estimate) <= 1

    # Dead pixels
    dead = torch.zeros(len(x), 32, 5)
    dead[0] = -10.0
    assert estimate_endmembers(torch.cat([x, dead], dim=2)) == estimate


def test_sample() -> None:
    x = mix(5, B=12, size=104) + 1e-3 * torch.randn(12, 104, 104)
    assert x[0].numel() > 10_000
    assert [estimate_endmembers(x, seed=seed) for seed in (0, 0, 1)] == [5, 5, 5]


@pytest.mark.parametrize("B", [1, 2, 3, 10, 180])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (8, 8)])
@pytest.mark.parametrize("largest", [1, 2, 20])
def test_bounds(B: int, size: tuple[int, int], largest: int) -> None:
    noise = torch.rand(B, *size)
    pixel = torch.rand(B, 1, 1).expand(B, *size)
    bright = torch.ones(B, *size)
    bright[0, 0, 0] = 1e8
    signed = torch.randn(B, *size)
    signed[:, 0, 0] = 1.0  # one pixel that is not dead, at least
    silent = noise.clone()
    silent[B // 2 :] = 0
    silent[0] = 1.0

    for image in (noise, bright, signed, silent):
        estimate = estimate_endmembers(image, largest=largest)
        assert type(estimate) is int
        assert 1 <= estimate <= min(B, noise[0].numel(), largest)

    # Identical pixels, and constants
    for image in (pixel, 1e-3 * pixel, torch.ones(B, *size)):
        assert estimate_endmembers(image, largest=largest) == 1


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"largest number .* at least 1, got 0"):
        estimate_endmembers(torch.rand(3, 4, 4), largest=0)
    with pytest.raises(ValueError, match="no pixel whose sum"):
        estimate_endmembers(-torch.rand(3, 4, 4))


def test_largest() -> None:
    assert estimate_endmembers(mix(8), largest=5) <= 5


@pytest.mark.parametrize(
    ("variability", "patch", "hits", "near"),
    [(0.0, 0, 16, 16), (0.03, 0, 12, 16), (0.03, 3, 2, 9)],
)
def test_hit_rate(variability: float, patch: float, hits: int, near: int) -> None:
    # As measured: whether materials vary not at all, from pixel to pixel, or in patches
    scenes = product((3, 4, 5, 6), (30, 40), ((0.75, "off"), (1.0, "rough")))
    errors, dimensions = [], []
    for R, snr, (purity, brightness) in scenes:
        case = {"endmembers": R, "snr": snr, "purity": purity, "brightness": brightness}
        found = count(**case, variability=variability, patch=patch, size=32, seed=3)
        errors.append(abs(found["smile"] - R))
        dimensions.append(abs(found["hysime"] - R))

    assert errors.count(0) >= hits, errors
    assert errors.count(0) + errors.count(1) >= near, errors
    assert sum(errors) <= sum(dimensions)


def test_hysime() -> None:
    # As published, band by band and pixel by pixel
    for R, snr in ((3, 20.0), (5, 30.0), (6, 40.0)):
        x = synthetic(24, R, snr=snr, seed=R).image[::4]
        y = x.flatten(1).double().numpy()
        noise = np.zeros_like(y)
        for b in range(len(y)):
            others = np.delete(y, b, axis=0)
            beta = np.linalg.lstsq(others.T, y[b], rcond=None)[0]
            noise[b] = y[b] - beta @ others
        N = y.shape[1]
        Ry, Rx = y @ y.T / N, (y - noise) @ (y - noise).T / N
        Rn = np.diag(np.square(noise).mean(axis=1)) + 1e-5 * np.trace(Rx) / len(y) * np.eye(len(y))
        E = np.linalg.svd(Rx)[0]
        cost = -np.diag(E.T @ Ry @ E) + 2 * np.diag(E.T @ Rn @ E)

        assert hysime(x) == np.sum(cost < 0)
