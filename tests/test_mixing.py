r"""Tests for the smile_core.mixing module."""

import numpy as np
import pytest
import torch

from collections.abc import Sequence
from scipy.optimize import nnls
from torch import Tensor

from smile_core import mixing, scenes
from smile_core.mixing import convert, fcls, gap, project_simplex, unit, unmix_pixels

CONVENTIONS = ("share", "area", "plain")


def assert_in_simplex(a: Tensor, dim: int = 0, tolerance: float = 1e-12) -> None:
    assert (a >= 0).all()
    assert ((a.sum(dim=dim) - 1).abs() <= tolerance).all()


def assert_nearest(a: Tensor, z: Tensor, tolerance: float) -> None:
    r"""Tests that no vertex of the simplex, hence no point, is nearer to `a` on the way from `z`.

    That is the variational inequality :math:`\langle a - z, v - z \rangle \leq 0`, which the
    projection alone satisfies for every :math:`v` in the simplex.
    """
    slack = (a - z).amax(dim=-1) - ((a - z) * z).sum(dim=-1)
    assert (slack <= tolerance).all()


def make_pixels(R: int, N: int = 40, B: int = 30) -> tuple[Tensor, Tensor]:
    r"""Makes noisy mixtures, many of which have their optimum at the border of the simplex."""
    M = torch.rand(B, R, dtype=torch.float64)
    c = torch.rand(R, N, dtype=torch.float64) ** 3
    return M @ (c / c.sum(dim=0)) + 0.2 * torch.randn(B, N, dtype=torch.float64), M


def solve_nnls(y: Tensor, M: Tensor) -> Tensor:
    r"""Solves pixel by pixel, with a row of weight 1e3 for the sum to one."""
    A = np.vstack([M.numpy(), np.full((1, M.shape[1]), 1e3)])
    return torch.from_numpy(np.stack([nnls(A, np.append(v, 1e3))[0] for v in y.T.numpy()]).T)


def evaluate(a: Tensor, y: Tensor, M: Tensor) -> Tensor:
    return (y - M @ a).square().sum(dim=0) / 2


def test_unit() -> None:
    x = torch.tensor([[3.0, 0.0], [4.0, 0.0]])

    assert torch.equal(unit(x), torch.tensor([[0.6, 0.0], [0.8, 0.0]]))
    torch.testing.assert_close(unit(x, dim=1), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))


@pytest.mark.parametrize("batch", [(), (64,), (3, 5)])
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1.0, 1e8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_project_simplex(batch: Sequence[int], scale: float, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    a, b = scale * torch.randn(2, *batch, 6, dtype=dtype)
    z, w = project_simplex(a, dim=-1), project_simplex(b, dim=-1)

    assert z.shape == a.shape
    assert z.dtype == dtype
    assert_in_simplex(z, dim=-1, tolerance=10 * eps)
    assert_nearest(a, z, tolerance=10 * eps * max(1.0, scale))

    # Non-expansive
    distance = (a - b).norm(dim=-1)
    assert ((z - w).norm(dim=-1) <= distance + 10 * eps).all()

    # Idempotent
    torch.testing.assert_close(project_simplex(z, dim=-1), z, rtol=0, atol=10 * eps)

    # Along any dimension
    for dim in range(a.ndim):
        assert torch.equal(project_simplex(a.movedim(-1, dim), dim=dim), z.movedim(-1, dim))


def test_project_simplex_by_hand() -> None:
    for a, z in (
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5]),
        ([1.0, 1.0], [0.5, 0.5]),
        ([-3.0, 7.0], [0.0, 1.0]),
        ([-1e9, -1e9], [0.5, 0.5]),
        ([42.0], [1.0]),
    ):
        torch.testing.assert_close(project_simplex(torch.tensor(a)), torch.tensor(z))


@pytest.mark.parametrize("R", [2, 3])
def test_project_simplex_brute_force(R: int) -> None:
    # All points of the simplex, 1/300 apart
    n = 300
    t = torch.cartesian_prod(*[torch.arange(n + 1)] * (R - 1)).reshape(-1, R - 1)
    grid = torch.cat([t, n - t.sum(dim=1, keepdim=True)], dim=1)
    grid = grid[grid[:, -1] >= 0].double() / n

    for a in torch.randn(20, R, dtype=torch.float64):
        z = project_simplex(a)
        distances = (grid - a).norm(dim=1)
        assert (z - a).norm() <= distances.min() + 1e-12
        assert (z - grid[distances.argmin()]).norm() <= 2 / n


@pytest.mark.parametrize("R", [1, 2, 3, 4, 6, 7, 12])
def test_fcls(R: int) -> None:
    y, M = make_pixels(R)
    a = fcls(y, M)

    # Another library
    assert_in_simplex(a)
    assert (a - solve_nnls(y, M)).abs().max() < 1e-5
    assert R == 1 or (a == 0).any()

    # The certificate
    objective = evaluate(a, y, M)
    assert (gap(a, y, M) <= 1e-9 * objective).all()

    # The unit of the spectra does not matter
    for scale in (1e-10, 1e-3, 1e6, 1e10):
        torch.testing.assert_close(fcls(scale * y, scale * M), a)

    # Exact mixtures are found again
    torch.testing.assert_close(fcls(M @ a, M), a, rtol=0, atol=1e-9)

    # Shapes and precision
    b = fcls(y.float().reshape(30, 5, 8), M)
    assert b.dtype == torch.float32
    torch.testing.assert_close(b.double(), a.reshape(R, 5, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize("R", [2, 3, 5, 9])
def test_fcls_repeated(R: int) -> None:
    y, M = make_pixels(R)
    best = evaluate(fcls(y, M), y, M)

    # A copy, a copy of all, and a mixture of others are of no use
    for more in (M[:, :1], M, M.mean(dim=1, keepdim=True)):
        M_ = torch.cat([M, more], dim=1)
        a = fcls(y, M_)
        assert_in_simplex(a)
        torch.testing.assert_close(evaluate(a, y, M_), best, rtol=1e-9, atol=0)


def test_gap() -> None:
    # By hand: the gradient is a - y, its smallest entry -1/2
    identity = torch.eye(2, dtype=torch.float64)
    y, a = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.5, 0.5]).double()
    assert gap(a, y, identity).item() == 0.5
    assert gap(y, y, identity).item() == 0.0

    # An upper bound of what is missing to the optimum, and positive away from it
    y, M = make_pixels(4)
    best = fcls(y, M)
    for weight in (1e-3, 0.1, 1.0):
        a = torch.lerp(best, torch.rand(4, 40).double().softmax(dim=0), weight)
        missing = evaluate(a, y, M) - evaluate(best, y, M)
        assert (missing > 0).all()
        assert (gap(a, y, M) >= missing).all()

    # Shapes
    assert gap(a.reshape(4, 8, 5), y.reshape(30, 8, 5), M).shape == (8, 5)
    torch.testing.assert_close(gap(a[:, 0], y[:, 0], M), gap(a, y, M)[0])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("R", [2, 4, 8])
def test_unmix_pixels(convention: str, R: int) -> None:
    _, M = make_pixels(R)
    M = unit(M) if convention == "share" else M * torch.linspace(0.5, 2, R).double()
    a = (3 * torch.randn(R, 5, 6, dtype=torch.float64)).softmax(dim=0)
    rho = torch.rand(5, 6, dtype=torch.float64) + 0.1
    rho = torch.ones_like(rho) if convention == "plain" else rho
    image = torch.einsum("br,rhw->bhw", M, a) * rho

    # Exact mixtures are found again
    a_, rho_, gaps = unmix_pixels(image, M, convention)
    torch.testing.assert_close(a_, a, rtol=0, atol=1e-9)
    torch.testing.assert_close(rho_, rho)
    assert (gaps.abs() < 1e-12).all()

    # The scale of the image goes into the brightness alone
    for scale in (1e-6, 1e6) if convention != "plain" else ():
        a_, rho_, _ = unmix_pixels(scale * image, M, convention)
        torch.testing.assert_close(a_, a, rtol=0, atol=1e-9)
        torch.testing.assert_close(rho_, scale * rho)

    # A single pixel
    a_, rho_, _ = unmix_pixels(image[:, 2, 3], M, convention)
    torch.testing.assert_close(a_, a[:, 2, 3], rtol=0, atol=1e-9)
    torch.testing.assert_close(rho_, rho[2, 3])

    # In float32
    a_, rho_, gaps = unmix_pixels(image.float(), M.float(), convention)
    assert (a_.dtype, rho_.dtype, gaps.dtype) == (torch.float32, torch.float32, torch.float64)
    torch.testing.assert_close(a_, a.float(), rtol=0, atol=1e-4)


def test_conventions() -> None:
    r"""Tests, on a pixel lit half by each of two endmembers, what an abundance is."""
    M = torch.tensor([[1.0, 0.0], [0.0, 3.0]]).double()
    x = torch.tensor([[3.0], [3.0]]).double()

    # Equal shares of the light; of the area, the dark material covers three times as much
    a, rho, _ = unmix_pixels(x, unit(M), "share")
    torch.testing.assert_close(a[:, 0], torch.tensor([0.5, 0.5]).double())
    torch.testing.assert_close(rho, torch.tensor([6.0]).double())
    a, rho, _ = unmix_pixels(x, M, "area")
    torch.testing.assert_close(a[:, 0], torch.tensor([0.75, 0.25]).double())
    torch.testing.assert_close(rho, torch.tensor([4.0]).double())

    # With the brightness fixed, the best is (3 - t)^2 + (3 - 3 (1 - t))^2 at t = 3 / 10
    a, rho, _ = unmix_pixels(x, M, "plain")
    torch.testing.assert_close(a[:, 0], torch.tensor([0.3, 0.7]).double())
    assert rho.item() == 1.0

    with pytest.raises(ValueError, match=r"Unknown convention 'volume', expected one of .*share"):
        unmix_pixels(x, M, "volume")
    with pytest.raises(ValueError, match="2 bands of the pixels, got 3 bands and 1 endmembers"):
        fcls(x, torch.ones(3, 1))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_dead_pixels(convention: str) -> None:
    y, M = make_pixels(3, N=6)
    y[:, 1], y[:, 4] = 0, -y[:, 4].abs()
    alive = [0, 2, 3, 5]
    a, rho, gaps = unmix_pixels(y, M, convention)

    assert torch.equal(a[:, [1, 4]], torch.full((3, 2), 1 / 3, dtype=torch.float64))
    assert not rho[[1, 4]].any()
    assert not gaps[[1, 4]].any()

    # The others do not notice
    expected = unmix_pixels(y[:, alive], M, convention)
    for value, value_ in zip((a[:, alive], rho[alive], gaps[alive]), expected, strict=True):
        torch.testing.assert_close(value, value_)


@pytest.mark.parametrize("R", [3, 8])
def test_blocks(R: int, monkeypatch: pytest.MonkeyPatch) -> None:
    y, M = make_pixels(R)
    whole = unmix_pixels(y, M)
    monkeypatch.setattr(mixing, "BLOCK", 7)

    for value, value_ in zip(unmix_pixels(y, M), whole, strict=True):
        torch.testing.assert_close(value, value_, rtol=0, atol=1e-10)


def test_convert() -> None:
    _, M = make_pixels(4)
    M, norms = unit(M), torch.tensor([0.5, 1.0, 3.0, 10.0]).double()
    a = torch.randn(4, 5, 6, dtype=torch.float64).softmax(dim=0)
    rho = torch.rand(5, 6, dtype=torch.float64)
    a_, M_, rho_ = convert(a, M, rho, norms, "area")

    # The formula
    share = a / norms[:, None, None]
    torch.testing.assert_close(a_, share / share.sum(dim=0))
    torch.testing.assert_close(M_, M * norms)

    # The same image, and what the solve in the other convention finds in it
    image = torch.einsum("br,rhw->bhw", M, a) * rho
    torch.testing.assert_close(torch.einsum("br,rhw->bhw", M_, a_) * rho_, image)
    torch.testing.assert_close(unmix_pixels(image, M_, "area")[0], a_)
    torch.testing.assert_close(unmix_pixels(image, M_, "area")[1], rho_)

    # There and back
    for value, value_ in zip(convert(a_, M_, rho_, norms, "share"), (a, M, rho), strict=True):
        torch.testing.assert_close(value, value_)

    with pytest.raises(ValueError, match="not to 'plain': where the brightness is fixed"):
        convert(a, M, rho, norms, "plain")


@pytest.mark.data("samson", "jasper")
@pytest.mark.parametrize("name", ["samson", "jasper"])
def test_real_scene(name: str) -> None:
    scene = scenes.load(name)
    y = scene.image.flatten(1).double()
    y, M = y / y.sum(dim=0), scene.M.double() / scene.M.double().sum(dim=0)
    a = fcls(y, M)

    # The certificate
    assert_in_simplex(a)
    assert gap(a, y, M).sum() <= 1e-6 * evaluate(a, y, M).sum()

    # Another library, on the system that the endmembers span
    Q, R = torch.linalg.qr(M)
    assert (a - solve_nnls(Q.T @ y, R)).abs().max() <= 1e-5

    # The same in all bands and in their unit
    a_, _, gaps = unmix_pixels(scene.image, unit(scene.M), "share")
    b = a.reshape(a_.shape) * (unit(scene.M).double().sum(dim=0) ** -1)[:, None, None]
    torch.testing.assert_close(a_.double(), b / b.sum(dim=0), rtol=0, atol=1e-5)
    assert gaps.max() <= 1e-7
