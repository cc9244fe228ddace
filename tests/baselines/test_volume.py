r"""Tests for the smile_core.baselines.volume module."""

import pytest
import torch

from torch import Tensor

import smile_core.baselines.volume as module

from smile_core.baselines.geometric import vca
from smile_core.baselines.volume import sisal, sisal_fcls
from smile_core.metrics import match
from smile_core.mixing import fcls, project_simplex


def make_pixels(R: int, most: float = 0.8, N: int = 4000) -> tuple[Tensor, Tensor]:
    r"""Makes plain mixtures, uniform in the simplex without its corners: endmembers, pixels."""
    M = 0.1 + torch.rand(30, R, dtype=torch.float64)
    a = torch.empty(R, 20 * N, dtype=torch.float64).exponential_()
    a = a / a.sum(dim=0)
    return M, M @ a[:, a.amax(dim=0) < most][:, :N]


def volume(M: Tensor) -> Tensor:
    r"""Computes the volume of a simplex, but for a constant."""
    edges = M[:, 1:] - M[:, :1]
    return torch.linalg.det(edges.mT @ edges).sqrt()


@pytest.mark.parametrize("R", [3, 6, 12])
def test_no_pure_pixels(R: int) -> None:
    r"""Tests recovery from noiseless mixtures, which the pixels furthest out do not give."""
    M, y = make_pixels(R)
    M_hat = sisal(y, R)
    permutation, angles = match(M_hat, M)

    assert angles.max() < 0.01
    assert angles.max() < 0.05 * match(vca(y, R), M)[1].max()

    # The truth holds the pixels, so that the smallest simplex is not larger
    assert 0.9 < volume(M_hat[:, permutation]) / volume(M) < 1 + 1e-3

    # Hardly any pixel is outside
    assert (M_hat @ fcls(y, M_hat) - y).norm() < 1e-3 * (y - y.mean(dim=1, keepdim=True)).norm()


def test_noise() -> None:
    r"""Tests that a lower price of negative abundances copes with noise, up to a point."""
    M, y = make_pixels(4)
    y = y + 10 ** (-30 / 20) * y.square().mean().sqrt() * torch.randn_like(y)
    errors = {tau: match(sisal(y, 4, tau=tau), M)[1].mean() for tau in (1, 0.1, 0.001)}

    assert errors[0.1] < errors[1] < 0.05
    assert errors[1] < errors[0.001]
    assert errors[0.1] < 0.2 * match(vca(y, 4), M)[1].mean()


def test_segment() -> None:
    r"""Tests that two endmembers are the ends of a segment: there are no facets to go by."""
    M, y = make_pixels(2)
    along = (M[:, 0] - M[:, 1]) @ y
    ends = y[:, [along.argmin(), along.argmax()]]
    _, angles = match(sisal(y, 2), ends)
    assert angles.max() < 1e-3


def test_equivariance() -> None:
    _, y = make_pixels(4, N=1000)
    M = sisal(y, 4)
    torch.testing.assert_close(sisal(1024 * y, 4), 1024 * M)

    # Other coordinates are another start, and eighty rounds do not forget it entirely
    rotation = torch.linalg.qr(torch.randn(40, 30, dtype=torch.float64)).Q
    _, angles = match(sisal(rotation @ y, 4), rotation @ M)
    assert angles.max() < 0.01


def test_soft() -> None:
    r"""Tests the threshold against the minimum over a grid, of the hinge and half the square."""
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    z = torch.tensor([-2.5, -0.9, -0.5, -0.2, 0.0, 0.3, 2.0], dtype=torch.float64)
    value = 0.7 * grid.neg().clamp_min(0) + (grid - z[:, None]).square() / 2

    torch.testing.assert_close(module._soft(z, 0.7), grid[value.argmin(dim=1)], rtol=0, atol=1e-3)


def test_sisal_fcls() -> None:
    M, y = make_pixels(3, N=400)
    y = y + 0.05 * torch.randn_like(y)
    image = y.float().reshape(30, 20, 20)
    M, a = sisal_fcls(image, 3)

    assert M.shape == (30, 3) and a.shape == (3, 20, 20)
    assert M.dtype == a.dtype == torch.float32
    assert (M >= 0).all()
    torch.testing.assert_close(project_simplex(a), a)
    assert torch.equal(sisal_fcls(image, 3)[0], M)


def test_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that a step the wrong way is told, here by a threshold that is none."""
    _, y = make_pixels(3, N=200)
    monkeypatch.setattr(module, "_soft", lambda z, threshold: -10 * z)
    monkeypatch.setattr(module, "PASSES", 3)
    with pytest.raises(RuntimeError, match="diverged in round 1 of 80"):
        sisal(y, 3)
