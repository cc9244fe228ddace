r"""Tests for the smile_core.lifting module."""

import pytest
import torch
import torch.nn.functional as F

from itertools import pairwise
from torch import Tensor

from smile_core.degradation import degrade, upsample
from smile_core.lifting import interpolate, lift, reconcile

SCALES = (2, 3, 4)


def make_scene(size: int = 24) -> tuple[Tensor, Tensor]:
    r"""Makes smooth abundances (3, size, size) and a smooth brightness (size, size)."""
    t = torch.arange(float(size))
    fields = [torch.sin(0.25 * k * t[:, None] + k) + torch.cos(0.2 * k * t + k) for k in (1, 2, 3)]
    rho = 0.6 + 0.3 * torch.sin(0.3 * t)[:, None] * torch.cos(0.25 * t)
    return torch.stack(fields).softmax(dim=0), rho


def degrade_scene(scale: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    a, rho = make_scene()
    return a, rho, degrade(a, scale, brightness=rho[None]), degrade(rho[None], scale)[0]


def assert_in_simplex(a: Tensor) -> None:
    assert (a >= 0).all()
    assert ((a.sum(dim=0) - 1).abs() < 1e-5).all()


def measure(x: Tensor, x_true: Tensor) -> Tensor:
    return (x - x_true).square().mean().sqrt()


@pytest.mark.parametrize("scale", SCALES)
def test_lift(scale: int) -> None:
    a, rho, a_l, rho_l = degrade_scene(scale)
    a_hr, rho_hr = lift(a_l, rho_l, scale)
    a_bicubic = interpolate(a_l, scale)
    rho_bicubic = upsample(rho_l[None], scale, "bicubic")[0]

    assert_in_simplex(a_hr)
    assert (rho_hr > 0).all()

    # Comes down to where it came from, as interpolation does not
    residual = degrade(a_hr, scale, brightness=rho_hr[None]) - a_l
    residual_bicubic = degrade(a_bicubic, scale, brightness=rho_bicubic[None]) - a_l
    assert residual.abs().max() < 0.1 * residual_bicubic.abs().max()
    residual, residual_bicubic = (degrade(r[None], scale)[0] for r in (rho_hr, rho_bicubic))
    assert (residual - rho_l).abs().max() < 0.1 * (residual_bicubic - rho_l).abs().max()

    # Nearer to the truth
    assert measure(a_hr, a) < 0.9 * measure(a_bicubic, a)
    assert measure(rho_hr, rho) < 0.95 * measure(rho_bicubic, rho)

    # The unit of the brightness does not matter
    a_, rho_ = lift(a_l, 1024 * rho_l, scale)
    torch.testing.assert_close(a_, a_hr, rtol=0, atol=1e-6)
    torch.testing.assert_close(rho_, 1024 * rho_hr)


@pytest.mark.parametrize("scale", SCALES)
def test_without(scale: int) -> None:
    _, _, a_l, rho_l = degrade_scene(scale)
    a_hr, rho_hr = lift(a_l, rho_l, scale)

    # Under the unweighted operator, which a constant brightness leaves; the brightness is lifted
    a_, rho_ = lift(a_l, rho_l, scale, without="brightness")
    torch.testing.assert_close(a_, lift(a_l, torch.ones_like(rho_l), scale)[0])
    assert (a_ - a_hr).abs().max() > 1e-3
    assert torch.equal(rho_, rho_hr)

    # Interpolation alone
    a_, rho_ = lift(a_l, rho_l, scale, without="lifting")
    assert torch.equal(a_, interpolate(a_l, scale))
    torch.testing.assert_close(rho_, upsample(rho_l[None], scale, "bicubic")[0])


@pytest.mark.parametrize("scale", SCALES)
def test_constant(scale: int) -> None:
    a = torch.tensor([0.2, 0.0, 0.8])[:, None, None].expand(3, 4, 5)
    a_hr, rho_hr = lift(a, torch.full((4, 5), 0.7), scale)

    torch.testing.assert_close(a_hr, a[:, :1, :1].expand(3, 4 * scale, 5 * scale))
    torch.testing.assert_close(rho_hr, torch.full((4 * scale, 5 * scale), 0.7))


def test_dead_pixels() -> None:
    a, rho = make_scene(8)
    rho[2, 3], rho[7, 7] = 0, 0
    a_hr, rho_hr = lift(a, rho, 2)

    assert_in_simplex(a_hr)
    assert (rho_hr > 0).all()

    # None that is alive
    a_hr, rho_hr = lift(a, torch.zeros(8, 8), 2)
    assert_in_simplex(a_hr)
    assert rho_hr.isfinite().all()


@pytest.mark.parametrize("scale", SCALES)
def test_reconcile(scale: int) -> None:
    a, rho, a_l, _ = degrade_scene(scale)

    # The truth stays as it is
    torch.testing.assert_close(reconcile(a, a_l, rho, scale, 5), a, rtol=0, atol=1e-5)

    # Every step brings another one nearer to what comes down right
    a_hr = torch.rand_like(a).softmax(dim=0)
    residuals = []
    for _ in range(6):
        residuals.append(measure(degrade(a_hr, scale, brightness=rho[None]), a_l))
        a_hr = reconcile(a_hr, a_l, rho, scale, 1)
        assert_in_simplex(a_hr)
    assert all(after < before for before, after in pairwise(residuals))
    assert residuals[-1] < 0.1 * residuals[0]

    # No step, no change
    assert torch.equal(reconcile(a_hr, a_l, rho, scale, 0), a_hr)


@pytest.mark.parametrize("scale", SCALES)
def test_interpolate(scale: int) -> None:
    # Steps from nothing to all, where bicubic interpolation overshoots
    a = F.one_hot(torch.randint(3, (6, 7)), 3).movedim(-1, 0).float()
    bicubic = F.interpolate(a[None], scale_factor=scale, mode="bicubic")[0]
    assert bicubic.min() < -0.01

    expected = torch.where(bicubic > 0, bicubic, 0)
    a_hr = interpolate(a, scale)
    assert_in_simplex(a_hr)
    torch.testing.assert_close(a_hr, expected / expected.sum(dim=0))
