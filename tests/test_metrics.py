r"""Tests for the smile_core.metrics module."""

import itertools
import json
import math
import numpy as np
import pytest
import torch
import torchmetrics.functional.image as tm

from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from smile_core import metrics


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    r"""Makes a smooth image of 6 bands and 20 x 24 pixels, and a noisy copy."""
    generator = torch.Generator().manual_seed(0)
    rows, cols = torch.arange(20.0)[:, None] / 20, torch.arange(24.0) / 24
    x = torch.stack([0.5 + 0.3 * torch.sin(k * rows + cols) for k in range(1, 7)])
    return x + 0.05 * torch.randn(x.shape, generator=generator), x


@pytest.fixture
def truth() -> tuple[Tensor, Tensor]:
    r"""Makes endmembers (30, 4) and abundances (4, 5, 6)."""
    generator = torch.Generator().manual_seed(0)
    M = torch.rand(30, 4, generator=generator) + 0.1
    a = torch.rand(4, 5, 6, generator=generator)
    return M, a / a.sum(dim=0)


def test_angle() -> None:
    p = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-3.0, 0.0]])
    expected = torch.tensor([0.0, 45.0, 90.0, 180.0]).double().deg2rad()

    # By hand
    torch.testing.assert_close(metrics.angle(p, torch.tensor([5.0, 0.0]), dim=-1), expected)

    # Scale
    p, q = torch.rand(2, 12, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(metrics.angle(1e-6 * p, 7.0 * q), metrics.angle(p, q))

    # Symmetry and supplement
    torch.testing.assert_close(metrics.angle(p, q), metrics.angle(q, p))
    torch.testing.assert_close(metrics.angle(p, -q), math.pi - metrics.angle(p, q))

    # Another library
    other = tm.spectral_angle_mapper(p.double()[None, ..., None], q.double()[None, ..., None])
    torch.testing.assert_close(metrics.angle(p, q).mean(), other)

    # Broadcasting
    assert metrics.angle(p[:, :, None], q[:, None, :]).shape == (50, 50)


@pytest.mark.parametrize("theta", [1e-12, 1e-8, 1e-4, 1.0])
def test_angle_accuracy(theta: float) -> None:
    # An arc cosine sees nothing below 1e-8
    p = torch.tensor([1.0, 0.0], dtype=torch.float64)
    q = torch.tensor([math.cos(theta), math.sin(theta)], dtype=torch.float64)
    assert metrics.angle(p, q).item() == pytest.approx(theta, rel=1e-9)
    assert math.pi - metrics.angle(p, -q).item() == pytest.approx(theta, rel=1e-9, abs=1e-15)
    assert metrics.angle(p, 3 * p).item() == 0.0


def test_angle_zero() -> None:
    zero, p = torch.zeros(5), torch.ones(5)
    for pair in [(zero, p), (p, zero), (zero, zero)]:
        assert metrics.angle(*pair).item() == pytest.approx(math.pi / 2)


def test_match(truth: tuple[Tensor, Tensor]) -> None:
    M_ref, _ = truth

    # Every order is undone, at any scale
    for order in itertools.permutations(range(4)):
        M = M_ref[:, list(order)] * torch.tensor([0.5, 1.0, 2.0, 3.0])
        permutation, sad = metrics.match(M, M_ref)
        torch.testing.assert_close(metrics.angle(M[:, permutation], M_ref), sad)
        assert torch.equal(torch.tensor(order)[permutation], torch.arange(4))
        assert sad.max() < 1e-7

    # The sum is the smallest of all, where a greedy choice is not
    M_ref = torch.tensor([[0.0, 30.0]]).deg2rad()
    M = torch.tensor([[20.0, 35.0]]).deg2rad()
    M, M_ref = (torch.cat([v.cos(), v.sin()]) for v in (M, M_ref))
    permutation, sad = metrics.match(M, M_ref)
    assert permutation.tolist() == [0, 1]
    torch.testing.assert_close(
        sad.rad2deg(), torch.tensor([20.0, 5.0]).double(), rtol=1e-5, atol=0
    )

    # Arrays
    assert metrics.match(M.numpy(), M_ref.numpy())[0].tolist() == [0, 1]


def test_match_bad(truth: tuple[Tensor, Tensor]) -> None:
    M, _ = truth
    with pytest.raises(ValueError, match=r"M and M_ref .* got \(30, 3\) and \(30, 4\)"):
        metrics.match(M[:, :3], M)
    with pytest.raises(ValueError, match="M should be finite"):
        metrics.match(M / 0.0, M)


def test_armse() -> None:
    a_ref = torch.zeros(2, 2, 2)
    a = torch.zeros(2, 2, 2)
    a[0, 0, 0], a[1, 0, 0] = 0.3, -0.4

    # By hand: sqrt((0.09 + 0.16) / 8)
    assert metrics.armse(a, a_ref).item() == pytest.approx(math.sqrt(0.25 / 8))
    assert metrics.armse(a, a).item() == 0.0

    # Masked: sqrt((0.09 + 0.16) / 4), then 0
    mask = torch.tensor([[True, False], [False, True]])
    assert metrics.armse(a, a_ref, mask).item() == pytest.approx(math.sqrt(0.25 / 4))
    mask[0, 0] = False
    assert metrics.armse(a, a_ref, mask).item() == 0.0

    # Bad masks
    for bad in (torch.ones(2, 2), torch.ones(3, 2).bool(), torch.zeros(2, 2).bool()):
        with pytest.raises(ValueError, match="mask should be boolean"):
            metrics.armse(a, a_ref, bad)
    with pytest.raises(ValueError, match="a and a_ref should have the same shape"):
        metrics.armse(a, a_ref[:, :1])


def test_rescale(truth: tuple[Tensor, Tensor]) -> None:
    M, a = truth
    M, a = M.double(), a.double()

    # By hand: norms 2 and 1 against 1 and 1, a = (1/2, 1/2) becomes (2/3, 1/3)
    rescaled = metrics.rescale(
        torch.full((2, 1, 1), 0.5), torch.diag(torch.tensor([2.0, 1.0])), torch.eye(2)
    )
    torch.testing.assert_close(rescaled.flatten(), torch.tensor([2 / 3, 1 / 3]).double())

    # Identity, whatever a common scale
    torch.testing.assert_close(metrics.rescale(a, 3.0 * M, M), a)

    # The same mixtures, up to brightness
    scale = torch.tensor([0.2, 1.0, 3.0, 0.7]).double()
    b = metrics.rescale(a, M * scale, M)
    x, y = torch.tensordot(M * scale, a, dims=1), torch.tensordot(M, b, dims=1)
    assert metrics.angle(x, y).max() < 1e-7
    torch.testing.assert_close(b.sum(dim=0), torch.ones(5, 6).double())

    # Zero endmember
    with pytest.raises(ValueError, match="no endmember that is zero"):
        metrics.rescale(a, M * 0.0, M)


def test_psnr(images: tuple[Tensor, Tensor]) -> None:
    x, x_ref = images

    # By hand: an error of 0.1 is 20 dB below 1
    assert metrics.psnr(x_ref + 0.1, x_ref, 1.0) == pytest.approx(20.0, abs=1e-4)
    assert metrics.psnr(x_ref, x_ref, 1.0) == math.inf

    # Scale
    assert metrics.psnr(5 * x, 5 * x_ref, 5.0) == pytest.approx(metrics.psnr(x, x_ref, 1.0))

    # Another library
    other = peak_signal_noise_ratio(x_ref.double().numpy(), x.double().numpy(), data_range=0.8)
    assert metrics.psnr(x, x_ref, 0.8) == pytest.approx(other)


def test_ssim(images: tuple[Tensor, Tensor]) -> None:
    x, x_ref = images
    assert metrics.ssim(x_ref, x_ref, 1.0) == pytest.approx(1.0)

    # By hand: between constants only luminance is left, c1 = 0.01^2
    flat = torch.ones(2, 16, 16)
    expected = (2 * 0.4 * 0.8 + 1e-4) / (0.4**2 + 0.8**2 + 1e-4)
    assert metrics.ssim(0.4 * flat, 0.8 * flat, 1.0) == pytest.approx(expected)

    # Another library
    other = structural_similarity(
        x_ref.double().numpy(),
        x.double().numpy(),
        channel_axis=0,
        data_range=0.8,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.ssim(x, x_ref, 0.8) == pytest.approx(other, rel=1e-6)

    # Smaller than the window
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels, got \(10, 24\)"):
        metrics.ssim(x[:, :10], x_ref[:, :10], 1.0)


def test_sam(images: tuple[Tensor, Tensor]) -> None:
    x, x_ref = images
    assert metrics.sam(x_ref, x_ref) == pytest.approx(0.0, abs=1e-7)

    # By hand: 0, 90 and 45 degrees
    p = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])[:, None]
    q = torch.tensor([[2.0, 0.0, 1.0], [0.0, 3.0, 1.0]])[:, None]
    assert metrics.sam(p, q) == pytest.approx(math.radians(45.0))

    # Brightness
    brightness = torch.rand(20, 24, generator=torch.Generator().manual_seed(1)) + 0.1
    assert metrics.sam(brightness * x, x_ref) == pytest.approx(metrics.sam(x, x_ref))

    # By numpy
    u, v = x.double().numpy(), x_ref.double().numpy()
    cosine = (u * v).sum(axis=0) / np.linalg.norm(u, axis=0) / np.linalg.norm(v, axis=0)
    assert metrics.sam(x, x_ref) == pytest.approx(np.arccos(cosine).mean())

    # Zero pixels are left out
    dead, dead_ref = x.clone(), x_ref.clone()
    dead[:, 0, :], dead_ref[:, -1, :] = 0.0, 0.0
    assert metrics.sam(dead, dead_ref) == pytest.approx(metrics.sam(x[:, 1:-1], x_ref[:, 1:-1]))
    with pytest.raises(ValueError, match="share a pixel that is not zero"):
        metrics.sam(torch.zeros_like(x), x_ref)


@pytest.mark.parametrize("scale", [2, 4])
def test_ergas(images: tuple[Tensor, Tensor], scale: int) -> None:
    x, x_ref = images
    assert metrics.ergas(x_ref, x_ref, scale) == 0.0

    # By hand: 10 % off in each band is 10 / scale
    flat = torch.tensor([0.2, 0.5])[:, None, None].expand(2, 4, 4)
    assert metrics.ergas(1.1 * flat, flat, scale) == pytest.approx(10.0 / scale, rel=1e-5)

    # As Wald defines it, with h / l = 1 / scale
    rmse = np.sqrt(np.square((x - x_ref).double().numpy()).mean(axis=(1, 2)))
    mean = x_ref.double().numpy().mean(axis=(1, 2))
    expected = 100 / scale * np.sqrt(np.square(rmse / mean).mean())
    assert metrics.ergas(x, x_ref, scale) == pytest.approx(expected)

    # Each band counts relative to its mean
    gains = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])[:, None, None]
    assert metrics.ergas(gains * x, gains * x_ref, scale) == pytest.approx(expected, rel=1e-5)

    # Zero band
    with pytest.raises(ValueError, match="no band of mean zero"):
        metrics.ergas(flat, 0.0 * flat, scale)


def test_reconstruction(images: tuple[Tensor, Tensor]) -> None:
    x, _ = images

    # Any brightness is made good
    brightness = torch.rand(20, 24, generator=torch.Generator().manual_seed(1)) + 0.1
    result = metrics.reconstruction(x, brightness * x)
    assert result["angle"] == pytest.approx(0.0, abs=1e-6)
    assert result["rmse"] == pytest.approx(0.0, abs=1e-6)

    # By hand: (1, 1) explained by (2, 0) leaves (0, 1), at 45 degrees
    p, q = torch.tensor([1.0, 1.0]).reshape(2, 1, 1), torch.tensor([2.0, 0.0]).reshape(2, 1, 1)
    result = metrics.reconstruction(p, q)
    assert result == pytest.approx({"angle": math.radians(45.0), "rmse": math.sqrt(0.5)})

    # A zero pixel of the image is left out
    assert metrics.reconstruction(
        torch.cat([p, 0 * p], dim=2), torch.cat([q, p], dim=2)
    ) == pytest.approx(result)

    # A zero pixel of the reconstruction explains nothing
    result = metrics.reconstruction(p, 0 * q)
    assert result == pytest.approx({"angle": math.pi / 2, "rmse": 1.0})

    # Nothing to explain
    with pytest.raises(ValueError, match="x should have a pixel"):
        metrics.reconstruction(0 * p, q)


def test_score(truth: tuple[Tensor, Tensor]) -> None:
    M_ref, a_ref = truth
    order, scale = [2, 0, 3, 1], torch.tensor([0.5, 1.0, 2.0, 4.0])
    inverse = [order.index(k) for k in range(4)]

    # The truth, in another order
    result = metrics.score(M_ref[:, order], a_ref[order], M_ref, a_ref)
    assert result["permutation"] == inverse
    assert result["sad"] == pytest.approx([0.0] * 4, abs=1e-7)
    assert result["armse"] == pytest.approx(0.0, abs=1e-7)
    assert result["armse_matched"] == pytest.approx(0.0, abs=1e-7)

    # Another scale, with the abundances that go with it
    a = a_ref / scale[:, None, None]
    a = a / a.sum(dim=0)
    result = metrics.score((M_ref * scale)[:, order], a[order], M_ref, a_ref)
    assert result["permutation"] == inverse
    assert result["armse"] > 0.1
    assert result["armse_matched"] == pytest.approx(0.0, abs=1e-7)

    # The whole is the quadratic mean of the parts
    parts = result["armse_per_endmember"]
    assert result["armse"] == pytest.approx(np.sqrt(np.square(parts).mean()))
    assert result["sad_mean"] == pytest.approx(np.mean(result["sad"]))

    # Masked
    mask = torch.zeros(5, 6, dtype=torch.bool)
    mask[1:3, 2:4] = True
    spoilt = torch.where(mask, a_ref, 1.0 - a_ref)
    inside, outside = (metrics.score(M_ref, spoilt, M_ref, a_ref, m) for m in (mask, ~mask))
    for key in ("armse", "armse_matched"):
        assert inside[key] == pytest.approx(0.0, abs=1e-7), key
        assert outside[key] > 0.1, key

    # JSON
    assert json.loads(json.dumps(result, allow_nan=False)) == result
