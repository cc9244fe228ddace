r"""Tests for the smile_core.network module."""

import pytest
import torch

from torch import Tensor

from smile_core.network import CrossAttention, Smile

B, R = 6, 3


def make_network(scale: int = 2, *, trained: bool = True, attention: bool = True) -> Smile:
    network = Smile(B, R, scale, channels=8, attention=attention)
    if trained:  # as far from where it starts as training may get
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))

    return network


def make_inputs(h: int, w: int, scale: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    a, a_hr = torch.randn(1, R, h, w), torch.randn(1, R, scale * h, scale * w)
    return torch.randn(1, B + R + 1, h, w), a.softmax(dim=1), a_hr.softmax(dim=1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_untrained(scale: int) -> None:
    pixels, a, a_hr = make_inputs(5, 6, scale)
    a[0, :, 2, 2] = torch.tensor([1.0, 0.0, 0.0])
    b, b_hr = make_network(scale, trained=False)(pixels, a, a_hr)

    torch.testing.assert_close(b, a, rtol=0, atol=1e-6)
    torch.testing.assert_close(b_hr, a_hr, rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3])
def test_trained(scale: int) -> None:
    network, inputs = make_network(scale), make_inputs(5, 6, scale)

    for before, after in zip(inputs[1:], network(*inputs), strict=True):
        assert after.shape == before.shape
        assert (after >= 0).all()
        torch.testing.assert_close(after.sum(dim=1), torch.ones(1, *before.shape[2:]))
        assert (after - before).abs().max() > 0.1


def test_correction() -> None:
    r"""Tests that the head's output is a change of log odds, and reaches what it should."""
    network, (pixels, a, a_hr) = make_network(trained=False), make_inputs(2, 2)
    a[0, :, 0, 0] = torch.tensor([1.0, 0.0, 0.0])
    with torch.no_grad():
        network.head.bias[1] = 50.0
        network.head_hr.bias[5] = 50.0  # the second pixel of each block, of the second material
    b, b_hr = network(pixels, a, a_hr)

    # A zero can become a one
    assert (b[0, 1] > 0.999).all()
    assert (b_hr[0, 1, ::2, 1::2] > 0.999).all()
    for rows, cols in ((0, 0), (1, 0), (1, 1)):
        block = (..., slice(rows, None, 2), slice(cols, None, 2))
        torch.testing.assert_close(b_hr[block], a_hr[block], rtol=0, atol=1e-6)


def test_gradients() -> None:
    network, inputs = make_network(trained=False), make_inputs(6, 6)
    targets = make_inputs(6, 6)[1:]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)

    # Layers that start at zero let the gradient pass one after the other
    for _ in range(4):
        optimizer.zero_grad()
        outputs = network(*inputs)
        sum((b - t).square().sum() for b, t in zip(outputs, targets, strict=True)).backward()
        optimizer.step()

    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@torch.no_grad()
def test_guidance() -> None:
    r"""Tests that the unmixing branch listens to the SR branch, and that this goes one way."""
    network, inputs = make_network(), make_inputs(6, 6)
    before, before_hr = network(*inputs)
    weights = {name: value.clone() for name, value in network.state_dict().items()}

    # Other features of the SR branch change the LR abundances, which its head does not see
    for parameter in network.sr.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    after, _ = network(*inputs)
    assert (after - before).abs().max() > 1e-3

    # Cut off, it has no influence, and is missed
    for parameter in network.to_unmixing.out.parameters():
        parameter.zero_()
    alone, _ = network(*inputs)
    network.load_state_dict(weights)
    for parameter in network.to_unmixing.out.parameters():
        parameter.zero_()
    cut, cut_hr = network(*inputs)
    torch.testing.assert_close(alone, cut)
    assert (cut - before).abs().max() > 1e-3
    torch.testing.assert_close(cut_hr, before_hr)

    # The other way round
    network.load_state_dict(weights)
    for parameter in network.to_sr.out.parameters():
        parameter.zero_()
    cut, cut_hr = network(*inputs)
    torch.testing.assert_close(cut, before)
    assert (cut_hr - before_hr).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 3])
def test_tiles(scale: int) -> None:
    r"""Tests that a tile with its surroundings gives what the whole image gives there."""
    network, (pixels, a, a_hr) = make_network(scale, attention=False), make_inputs(20, 18, scale)
    whole = network(pixels, a, a_hr)

    # Four blocks, one after the other, see four pixels to each side
    margin, (top, left, h, w) = 4, (4, 2, 14, 14)
    tile, tile_hr = (
        (..., slice(k * top, k * (top + h)), slice(k * left, k * (left + w))) for k in (1, scale)
    )
    inside, inside_hr = ((..., *2 * [slice(k * margin, -k * margin)]) for k in (1, scale))
    part = network(pixels[tile], a[tile], a_hr[tile_hr])
    torch.testing.assert_close(part[0][inside], whole[0][tile][inside])
    torch.testing.assert_close(part[1][inside_hr], whole[1][tile_hr][inside_hr])

    # The SR branch sees as far, the unmixing branch one less
    for k, (output, expected, where) in enumerate(zip(part, whole, (tile, tile_hr), strict=True)):
        cut = (3, scale * 4)[k] - 1
        border = (..., *2 * [slice(cut, -cut)])
        assert (output[border] - expected[where][border]).abs().max() > 1e-6

    # With attention they would not agree, for it sums over the image
    network = make_network(scale)
    difference = (
        network(pixels[tile], a[tile], a_hr[tile_hr])[0] - network(pixels, a, a_hr)[0][tile]
    )
    assert difference[inside].abs().max() > 1e-4


@torch.no_grad()
def test_attention() -> None:
    r"""Tests the attention against its formula, channel by channel."""
    C, heads = 8, 2
    attention = CrossAttention(C, heads)
    x, guide = torch.randn(2, 1, C, 5, 4)
    assert torch.equal(attention(x, guide), x)

    for parameter in attention.parameters():
        parameter.add_(0.5 * torch.randn_like(parameter))
    q, k, v = (
        layer(features)[0].flatten(1)
        for layer, features in (
            (attention.query, x),
            (attention.key, guide),
            (attention.value, guide),
        )
    )
    mixed = torch.zeros_like(v)
    for i in range(C):
        head = i // (C // heads)
        peers = range(head * C // heads, (head + 1) * C // heads)
        cosines = torch.stack([q[i] @ k[j] / (q[i].norm() * k[j].norm()) for j in peers])
        weights = (attention.temperature[head, 0, 0] * cosines).softmax(dim=0)
        mixed[i] = sum(weight * v[j] for weight, j in zip(weights, peers, strict=True))
    expected = x + attention.out(mixed.reshape(x.shape))
    torch.testing.assert_close(attention(x, guide), expected)


def test_without_shared_encoder() -> None:
    r"""Tests that no gradient of a task reaches the other's stem."""
    network = Smile(B, R, channels=8, without="shared encoder")
    for head in (network.head, network.head_hr):
        torch.nn.init.normal_(head.weight)
    stems = [network.stem.weight, network.encoder_sr[0].weight]
    for output, own in zip(network(*make_inputs(6, 6)), (0, 1), strict=True):
        total = output.square().sum()
        gradients = torch.autograd.grad(total, stems, retain_graph=True, allow_unused=True)
        assert gradients[own].abs().max() > 1e-3
        assert gradients[1 - own] is None

    # With it, both reach the one there is
    full = Smile(B, R, channels=8)
    for head in (full.head, full.head_hr):
        torch.nn.init.normal_(head.weight)
    for output in full(*make_inputs(6, 6)):
        total, stem = output.square().sum(), full.stem.weight
        [gradient] = torch.autograd.grad(total, stem, retain_graph=True)
        assert gradient.abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"attention": True, "without": "branches"}, ("unmixing.", "sr.")),
        ({"attention": False}, ("to_unmixing.", "to_sr.")),
    ],
)
def test_without_a_part(options: dict, names: tuple[str, ...]) -> None:
    full = make_network()
    rest = {k: v for k, v in full.state_dict().items() if not k.startswith(names)}
    network = Smile(B, R, channels=8, **options)
    network.load_state_dict(rest)  # neither more nor less

    # The full network with that part as the identity
    for name, parameter in full.named_parameters():
        if name.startswith(names) and ("reduce" in name or "out" in name):
            parameter.zero_()
    inputs = make_inputs(6, 6)
    for output, expected in zip(network(*inputs), full(*inputs), strict=True):
        torch.testing.assert_close(output, expected)


def test_without_anchoring() -> None:
    pixels, a, a_hr = make_inputs(6, 6)
    network = Smile(B, R, channels=8, without="anchoring")
    for output in network(pixels, a, a_hr):
        torch.testing.assert_close(output, torch.full_like(output, 1 / R))

    # Trained, it knows the abundances of its input by no other way than its features
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    _, b, b_hr = make_inputs(6, 6)
    for output, other in zip(network(pixels, a, a_hr), network(pixels, b, b_hr), strict=True):
        assert torch.equal(output, other)
        assert (output - 1 / R).abs().max() > 0.1


def test_channels() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        Smile(10, 3, channels=6, attention=True)


def test_shared_parameters() -> None:
    r"""Tests that they are those before the branches: all, and no others."""
    network = Smile(7, 3, channels=8)
    shared = [p for layer in network.shared_parameters().values() for p in layer]

    features = network.shared(network.stem(torch.rand(1, 11, 4, 4)))
    used = torch.autograd.grad(features.sum(), [*network.parameters()], allow_unused=True)
    expected = [p for p, g in zip(network.parameters(), used, strict=True) if g is not None]
    assert {id(p) for p in shared} == {id(p) for p in expected}
