r"""Tests for the smile_core.baselines.geometric module."""

import pytest
import torch

from torch import Tensor

from smile_core.baselines.geometric import flatten, spa, spa_fcls, vca, vca_fcls
from smile_core.metrics import match
from smile_core.mixing import project_simplex


def make_pixels(R: int, N: int = 300, B: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    r"""Makes plain mixtures, the first R of them pure: endmembers, abundances, pixels."""
    M = 0.1 + torch.rand(B, R, dtype=torch.float64)
    mixed = torch.rand(R, N - R, dtype=torch.float64).mul(4).softmax(dim=0)
    a = torch.cat([torch.eye(R, dtype=torch.float64), mixed], dim=1)
    return M, a, M @ a


def add_noise(y: Tensor, snr: float) -> Tensor:
    return y + y.square().mean().sqrt() * 10 ** (-snr / 20) * torch.randn_like(y)


def assert_on_subspace(M: Tensor, basis: Tensor) -> None:
    torch.testing.assert_close(basis @ (basis.mT @ M), M)


@pytest.mark.parametrize("R", [2, 3, 8])
@pytest.mark.parametrize("method", [vca_fcls, spa_fcls])
def test_separable(method: object, R: int) -> None:
    r"""Tests exact recovery where every endmember has a pure pixel, in any order of the pixels."""
    M, a, y = make_pixels(R)
    shuffle = torch.randperm(300)
    M_hat, a_hat = method(y[:, shuffle].reshape(20, 15, 20), R)

    permutation, _ = match(M_hat, M)
    torch.testing.assert_close(M_hat[:, permutation], M)
    torch.testing.assert_close(a_hat[permutation].flatten(1), a[:, shuffle], rtol=0, atol=1e-6)


def test_vca_brightness() -> None:
    r"""Tests that brightness, dead pixels included, moves no vertex of bright data."""
    M, _, y = make_pixels(4)
    rho = 0.2 + torch.rand(300, dtype=torch.float64)
    rho[-5:] = 0
    _, angles = match(vca(y * rho, 4), M)
    assert angles.max() < 1e-7

    # As it does for successive projections, which want the norms
    y = torch.cat([y, 10 * M.sum(dim=1, keepdim=True)], dim=1)
    _, angles = match(y[:, spa(y, 4)], M)
    assert angles.max() > 0.1


@pytest.mark.parametrize("snr", [10, 50])
def test_vca_projection(snr: float) -> None:
    r"""Tests that the projection is chosen by 15 + 10 log10 R dB, here 19.8."""
    _, _, y = make_pixels(3, N=2000)
    y = add_noise(y, snr)
    M = vca(y, 3)

    # Singular vectors, of the pixels or about their mean
    mean = y.mean(dim=1, keepdim=True)
    linear = torch.linalg.svd(y, full_matrices=False).U[:, :3]
    affine = torch.linalg.svd(y - mean, full_matrices=False).U[:, :2]
    pairs = [(M, linear), (M - mean, affine)]
    right, wrong = pairs if snr > 20 else pairs[::-1]

    assert_on_subspace(*right)
    with pytest.raises(AssertionError):
        assert_on_subspace(*wrong)


def test_vca_noise() -> None:
    M, _, y = make_pixels(4, N=2000, B=50)
    errors = [match(vca(add_noise(y, snr), 4), M)[1].mean() for snr in (20, 40, 60)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 5e-3


def test_spa_by_hand() -> None:
    # The longest; then the one furthest from its line; the third, though longer, is nearer to it
    y = torch.tensor([[3.0, 0.1, 2.9, 0.0], [0.0, 1.0, 0.5, 0.2], [0.0, 0.0, 0.1, 0.3]])
    assert spa(y, 3).tolist() == [0, 1, 3]

    # No rotation and no unit changes the choice
    rotation = torch.linalg.qr(torch.randn(3, 3)).Q
    assert spa(1e3 * rotation @ y, 3).tolist() == [0, 1, 3]


def test_spa_robust() -> None:
    r"""Tests that the error is of the order of the noise, as in the theorem of Gillis, Vavasis."""
    M, _, y = make_pixels(4)
    direction = torch.randn_like(y)
    direction /= direction.norm(dim=0).max()
    condition = torch.linalg.cond(M)

    for eps in (1e-2, 1e-3, 1e-4):
        noisy = y + eps * direction
        distances = torch.cdist(noisy[:, spa(noisy, 4)].mT, M.mT).amin(dim=1)
        assert 0 < distances.max() <= eps * (1 + 80 * condition**2)
        assert distances.max() < 2 * eps  # the pure pixels themselves


def test_spa_rank() -> None:
    _, _, y = make_pixels(3)
    with pytest.raises(ValueError, match=r"at least 4 dimensions.*got 3"):
        spa(y, 4)


@pytest.mark.parametrize("method", [vca_fcls, spa_fcls])
def test_noise_alone(method: object) -> None:
    r"""Tests that any image gives abundances in the simplex, in its precision."""
    image = torch.rand(8, 5, 6)
    M, a = method(image, 8)

    assert M.shape == (8, 8) and a.shape == (8, 5, 6)
    assert M.dtype == a.dtype == torch.float32
    torch.testing.assert_close(project_simplex(a), a)


def test_flatten() -> None:
    image = torch.rand(5, 2, 2)
    assert torch.equal(flatten(image, 4)[:, 3], image[:, 1, 1])

    for R in (1, 5):
        with pytest.raises(ValueError, match=f"5 and 4, got {R}"):
            flatten(image, R)
    with pytest.raises(ValueError, match=r"got \(5, 4\)"):
        flatten(image.flatten(1), 3)
    for bad in (image * 0, image / 0):
        with pytest.raises(ValueError, match="finite, and not zero"):
            flatten(bad, 3)
