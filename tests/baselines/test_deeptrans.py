r"""Tests for the smile_core.baselines.deeptrans module."""

import torch

from torch import nn

from smile_core.baselines.deeptrans import DIM, HEADS, Autoencoder, Block, deeptrans
from smile_core.baselines.geometric import vca

B, R = 12, 3


def make_network(h: int, w: int) -> Autoencoder:
    return Autoencoder(torch.rand(B, R), h, w).eval()


def test_tokens() -> None:
    r"""Tests that tokens are the class token, then patches of 5 x 5 pixels, row by row."""
    network, x = make_network(12, 16), torch.rand(B, 12, 16)
    tokens = network.tokens(x)
    assert tokens.shape == (1 + 3 * 4, DIM * R)
    torch.testing.assert_close(tokens[:1], network.cls + network.position[:1])

    x[:, 7, 11] += 1.0
    changed = (network.tokens(x) != tokens).any(dim=1)
    assert changed.nonzero().tolist() == [[1 + 1 * 4 + 2]]


def test_attention() -> None:
    r"""Tests the attention against that of PyTorch, with the same weights."""
    block, t = Block(64), torch.randn(7, 64)
    reference = nn.MultiheadAttention(64, HEADS)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([block.q.weight, block.k.weight, block.v.weight]))
        reference.out_proj.load_state_dict(block.out.state_dict())

    torch.testing.assert_close(block.attend(t), reference(t[:1], t, t)[0])


def test_class_token() -> None:
    r"""Tests that the class token hears of all tokens, and a patch only of itself."""
    block, norm, t = Block(64).eval(), nn.LayerNorm(64), torch.randn(7, 64)
    before = block(t, norm)
    assert before.shape == t.shape

    t[3, 0] += 1.0
    changed = (block(t, norm) != before).any(dim=1)
    assert changed.nonzero().flatten().tolist() == [0, 3]


def test_stochastic_depth() -> None:
    r"""Tests that attention is left out at times, such that it is itself on average."""
    block, norm, t = Block(64), nn.LayerNorm(64), torch.randn(7, 64)
    nn.init.zeros_(block.perceptron[-1].weight)
    nn.init.zeros_(block.perceptron[-1].bias)
    outputs = torch.stack([block(t, norm)[0] for _ in range(800)])
    without = (outputs == block.norm(t)[0]).all(dim=1)

    # Four standard deviations of a frequency
    assert abs(without.double().mean() - 0.15) < 4 * (0.15 * 0.85 / 800) ** 0.5
    kept = outputs[~without]
    assert torch.equal(kept, kept[:1].expand_as(kept))
    expected = 0.15 * block.norm(t)[0] + 0.85 * kept[0]
    torch.testing.assert_close(block.eval()(t, norm)[0], expected)


def test_mixing() -> None:
    network = make_network(5, 10)
    a = network.encode(torch.rand(B, 5, 10))
    assert a.shape == (R, 5, 10)
    assert (a >= 0).all()
    torch.testing.assert_close(a.sum(dim=0), torch.ones(5, 10))
    torch.testing.assert_close(network.decode(a), torch.einsum("er,rhw->ehw", network.M, a))

    # Each step ends with endmembers in the unit interval
    with torch.no_grad():
        network.M.add_(torch.randn(B, R))
    network.project()
    assert (network.M >= 1e-6).all()
    assert (network.M <= 1).all()


def test_start() -> None:
    r"""Tests that the endmembers start at those of vertex component analysis."""
    image = torch.rand(B, 10, 10)
    M, _ = deeptrans(image, R, seed=3, epochs=0)
    expected = vca(image.flatten(1) / image.max(), R, 3).clamp(1e-6, 1) * image.max()
    torch.testing.assert_close(M, expected.float())
