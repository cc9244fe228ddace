r"""Tests for the smile_core.baselines.cnnaeu module."""

import pytest
import torch
import torch.nn.functional as F

from smile_core.baselines.cnnaeu import Autoencoder, _draw_patches

B, R = 12, 3


@pytest.mark.parametrize("kernel", [1, 5, 11])
def test_decoder(kernel: int) -> None:
    network = Autoencoder(B, R, kernel)
    a = torch.rand(2, R, 12, 17)

    # Direct convolution
    border = kernel // 2
    expected = F.conv2d(F.pad(a, (border,) * 4, mode="reflect"), network.decoder)
    torch.testing.assert_close(network.decode(a), expected, rtol=0, atol=1e-5)

    # Its gradient
    actual, expected = (
        torch.autograd.grad(x.square().sum(), network.decoder)[0]
        for x in (network.decode(a), expected)
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-3)


def test_endmembers() -> None:
    r"""Tests that a pure patch is decoded to the spectrum of its endmember, up to scale."""
    network = Autoencoder(B, R)
    M = network.decoder.mean(dim=(2, 3))

    for k in range(R):
        a = F.one_hot(torch.full((1, 12, 12), k), R).movedim(-1, 1).float()
        x = network.decode(a)
        torch.testing.assert_close(x, 121 * M[None, :, k, None, None].expand_as(x))


def test_encoder() -> None:
    r"""Tests that abundances are in the simplex, and see the 3 x 3 pixels around theirs."""
    network = Autoencoder(B, R).eval()
    x = torch.rand(1, B, 12, 12)
    x_ = x.clone()
    x_[0, :, 5, 8] += 1.0
    a, a_ = network.encode(x), network.encode(x_)

    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(dim=1), torch.ones(1, 12, 12))
    seen = (a_ != a).any(dim=1)[0].nonzero()
    assert seen.amin(dim=0).tolist() == [4, 7]
    assert seen.amax(dim=0).tolist() == [6, 9]


def test_projection() -> None:
    network = Autoencoder(B, R)
    W = network.decoder.detach().clone()
    network.project()

    assert (W < 0).any()
    assert torch.equal(network.decoder, W.relu())


@pytest.mark.parametrize(
    ("shape", "number"), [((162, 307, 307), 250), ((156, 95, 95), 23), ((8, 9, 50), 1)]
)
def test_patches(shape: tuple[int, int, int], number: int) -> None:
    image = torch.arange(float(shape[1] * shape[2])).reshape(1, *shape[1:]).expand(shape)
    patches = _draw_patches(image)
    rows, cols = min(shape[1], 40), min(shape[2], 40)

    assert patches.shape == (number, shape[0], rows, cols)

    # Each is where its first pixel says, and inside
    for patch in patches[:, 0]:
        i, j = divmod(int(patch[0, 0]), shape[2])
        assert torch.equal(patch, image[0, i : i + rows, j : j + cols])
