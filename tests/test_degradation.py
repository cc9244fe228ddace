r"""Tests for the smile_core.degradation module."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from torch import Tensor

from smile_core.degradation import (
    adjoint,
    degrade,
    degrade_alive,
    enlarge,
    pad_to_multiple,
    upsample,
)

PSFS = ("block", "gaussian")
SCALES = (2, 3, 4)


def make_brightness(H: int, W: int) -> Tensor:
    return 0.1 + torch.rand(1, H, W, dtype=torch.float64)


def make_matrix(H: int, W: int, scale: int, psf: str, brightness: Tensor | None = None) -> Tensor:
    r"""Applies the operator to every image that is one in one pixel: rows are HR, columns LR."""
    basis = torch.eye(H * W, dtype=torch.float64).reshape(-1, H, W)
    return degrade(basis, scale, psf, brightness).flatten(1)


def make_cubic(n: int, scale: int, a: float = -0.75) -> Tensor:
    r"""Makes the matrix that interpolates n samples at the centres of scale n pixels."""
    U = torch.zeros(scale * n, n, dtype=torch.float64)
    for i in range(scale * n):
        position = (i + 0.5) / scale - 0.5
        for k in range(int(np.floor(position)) - 1, int(np.floor(position)) + 3):
            t = abs(position - k)
            near = (a + 2) * t**3 - (a + 3) * t**2 + 1
            far = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
            U[i, min(max(k, 0), n - 1)] += near if t <= 1 else far

    return U


@pytest.mark.parametrize("scale", SCALES)
def test_block(scale: int) -> None:
    x = torch.rand(3, 4 * scale, 5 * scale, dtype=torch.float64)
    mean = x.numpy().reshape(3, 4, scale, 5, scale).mean(axis=(2, 4))

    torch.testing.assert_close(degrade(x, scale), torch.from_numpy(mean))

    # Another library
    other = scipy.ndimage.uniform_filter(x.numpy(), size=(1, scale, scale))
    centres = other[:, scale // 2 :: scale, scale // 2 :: scale]
    torch.testing.assert_close(degrade(x, scale), torch.from_numpy(centres))


@pytest.mark.parametrize("scale", SCALES)
def test_gaussian(scale: int) -> None:
    H, W = 5 * scale, 6 * scale
    x = torch.rand(2, H, W, dtype=torch.float64)

    # Of full width `scale` at half maximum, on the pixels that are at most `scale` off the centre
    sigma = scale / np.sqrt(8 * np.log(2))
    d = np.arange(2 * scale) - scale + 0.5 if scale % 2 == 0 else np.arange(-scale, scale + 1)
    g = np.exp(-(d**2) / (2 * sigma**2))
    kernel = np.outer(g, g) / g.sum() ** 2

    # Another library, with as much weight as there are pixels at the border
    first = scale // 2
    expected = [
        scipy.ndimage.correlate(image, kernel, mode="constant")[first::scale, first::scale]
        for image in (*x.numpy(), np.ones((H, W)))
    ]
    expected = np.stack(expected[:-1]) / expected[-1]
    torch.testing.assert_close(degrade(x, scale, "gaussian"), torch.from_numpy(expected))


@pytest.mark.parametrize("psf", PSFS)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("weighted", [False, True])
def test_operator(scale: int, psf: str, weighted: bool) -> None:
    H, W = 2 * scale, 3 * scale
    rho = make_brightness(H, W) if weighted else None
    D = make_matrix(H, W, scale, psf, rho)

    # Means: nothing negative, columns that sum to one
    assert (D >= 0).all()
    torch.testing.assert_close(D.sum(dim=0), torch.ones(6, dtype=torch.float64))
    ones = torch.ones(2, H, W, dtype=torch.float64)
    torch.testing.assert_close(degrade(ones, scale, psf, rho), ones[:, :2, :3])

    # The formula of the brightness-weighted operator
    if weighted:
        plain, r = make_matrix(H, W, scale, psf), rho.flatten()
        torch.testing.assert_close(D, torch.diag(r) @ plain @ torch.diag(1 / (plain.T @ r)))

    for batch in ((), (4,), (2, 3)):
        x, z = torch.randn(2, *batch, 5, H, W, dtype=torch.float64)
        y = torch.randn(*batch, 5, 2, 3, dtype=torch.float64)

        # Linearity
        sides = degrade(2 * x - 3 * z, scale, psf, rho), degrade(x, scale, psf, rho)
        torch.testing.assert_close(sides[0], 2 * sides[1] - 3 * degrade(z, scale, psf, rho))

        # The transpose: dot test, and the matrix itself
        down, up = degrade(x, scale, psf, rho), adjoint(y, scale, psf, rho)
        assert down.shape == y.shape
        assert up.shape == x.shape
        torch.testing.assert_close((down * y).sum(), (x * up).sum())
        torch.testing.assert_close(up.flatten(-2), y.flatten(-2) @ D.T)


@pytest.mark.parametrize("psf", PSFS)
def test_closure(psf: str) -> None:
    r"""Tests Theorem 1.1: D of a mixture is M A D_rho diag(D' rho), and D_rho is needed."""
    M = torch.rand(7, 3, dtype=torch.float64)
    a = torch.rand(3, 8, 12, dtype=torch.float64)
    a = a / a.sum(dim=0)
    rho = make_brightness(8, 12)

    y = degrade(torch.einsum("br,rhw->bhw", M, a) * rho, 2, psf)
    a_l, rho_l = degrade(a, 2, psf, rho), degrade(rho, 2, psf)
    torch.testing.assert_close(torch.einsum("br,rhw->bhw", M, a_l) * rho_l, y)
    torch.testing.assert_close(a_l.sum(dim=0), torch.ones(4, 6, dtype=torch.float64))

    # Without brightness: exact where it is constant, wrong where it is not
    torch.testing.assert_close(degrade(a, 2, psf, torch.full_like(rho, 0.3)), degrade(a, 2, psf))
    assert (a_l - degrade(a, 2, psf)).abs().max() > 0.05


@pytest.mark.parametrize("psf", PSFS)
def test_gradient(psf: str) -> None:
    x = torch.rand(2, 4, 6, dtype=torch.float64, requires_grad=True)
    rho = make_brightness(4, 6).requires_grad_()

    assert torch.autograd.gradcheck(lambda x, rho: degrade(x, 2, psf, rho), (x, rho))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("psf", PSFS)
def test_dtype(psf: str, dtype: torch.dtype) -> None:
    x, rho = torch.rand(2, 6, 6, dtype=dtype), make_brightness(6, 6).to(dtype)

    assert degrade(x, 3, psf, rho).dtype == dtype
    assert adjoint(x, 2, psf).dtype == dtype
    assert upsample(x, 2).dtype == pad_to_multiple(x, 4).dtype == dtype


@pytest.mark.parametrize("scale", SCALES)
def test_upsample(scale: int) -> None:
    # Another library
    y = torch.rand(3, 5, 6, dtype=torch.float64)
    zoom = [
        scipy.ndimage.zoom(band, scale, order=1, mode="nearest", grid_mode=True)
        for band in y.numpy()
    ]
    torch.testing.assert_close(upsample(y, scale), torch.from_numpy(np.stack(zoom)))

    # Cubic convolution (Keys, 1981) with a = -3/4, the last pixels being repeated
    rows, cols = make_cubic(5, scale), make_cubic(6, scale)
    torch.testing.assert_close(upsample(y, scale, "bicubic"), rows @ y @ cols.T)

    # Leading dimensions
    y = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(upsample(y, scale, "bicubic")[1], upsample(y[1], scale, "bicubic"))


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_enlarge(dtype: torch.dtype) -> None:
    y = torch.tensor([[1, 0, 1], [0, 0, 1]]).to(dtype)
    expected = np.kron(y.numpy(), np.ones((3, 3), y.numpy().dtype))
    assert np.array_equal(enlarge(y, 3).numpy(), expected)
    assert torch.equal(enlarge(y.expand(4, 2, 3), 3)[2], enlarge(y, 3))


@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (4, 7), (5, 7), (1, 1)])
@pytest.mark.parametrize("multiple", [2, 3, 4])
def test_pad_to_multiple(shape: tuple[int, int], multiple: int) -> None:
    y = torch.rand(2, 3, *shape)
    widths = [(0, 0), (0, 0), *((0, -n % multiple) for n in shape)]
    expected = torch.from_numpy(np.pad(y.numpy(), widths, mode="edge"))

    assert torch.equal(pad_to_multiple(y, multiple), expected)


def test_alive() -> None:
    r"""Tests that the dead pixels are left out of the means, whatever they hold."""
    x = 1 + torch.rand(5, 8, 6)
    y, part = degrade_alive(x, 2)
    assert torch.equal(y, degrade(x, 2))
    assert torch.equal(part, torch.ones(4, 3))

    for nothing in (0.0, -2.0):
        holes = x.clone()
        holes[:, 0, :3], holes[:, 1, 0], holes[:, 2:4, 2:4] = nothing, nothing, nothing
        y, part = degrade_alive(holes, 2)
        assert torch.equal(part[:2], torch.tensor([[0.25, 0.75, 1], [1, 0, 1]]))
        torch.testing.assert_close(y[:, 0, 0], x[:, 1, 1])
        expected = (x[:, 0, 3] + x[:, 1, 2] + x[:, 1, 3]) / 3
        torch.testing.assert_close(y[:, 0, 1], expected)
        assert (y[:, 1, 1] == 0).all()


def test_errors() -> None:
    x = torch.rand(2, 5, 6)

    with pytest.raises(ValueError, match=r"'x' .* multiples of scale=2, got \(2, 5, 6\)"):
        degrade(x, 2)
    for operator in (degrade, adjoint):
        with pytest.raises(ValueError, match=r"Unknown psf 'box', expected one of .*gaussian"):
            operator(x[:, :4], 2, "box")
