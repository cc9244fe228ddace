r"""Tests for the smile_core.studies.representation module."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from torch import Tensor

from smile_core.degradation import upsample
from smile_core.network import Smile
from smile_core.objective import Pair, make_pairs, train
from smile_core.studies.representation import (
    attention,
    blocks,
    cka,
    costs,
    probe,
    representations,
    snapshots,
)

B, R = 6, 3


def make_network(channels: int = 8, scale: int = 2) -> Smile:
    network = Smile(B, R, scale, channels, attention=True)
    with torch.no_grad():  # as far from where it starts as training may get
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))

    return network


def make_pixels(h: int = 10, w: int = 12) -> Tensor:
    return torch.randn(1, B + R + 1, h, w)


def make_pairs_of_noise() -> tuple[list[Pair], Tensor]:
    image, M = 0.1 + torch.rand(B, 24, 24), 0.1 + torch.rand(B, R)
    image, M = image / image.norm(dim=0), M / M.norm(dim=0)
    return make_pairs(image, M, torch.ones(24, 24).bool(), 2, "share", 0), M


# Features


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 3])
def test_representations(scale: int) -> None:
    r"""Tests the features against those that pass through the network when it is called."""
    network, pixels = make_network(scale=scale), make_pixels()
    seen = {}
    for name, part in network.named_children():
        part.register_forward_hook(lambda _, args, out, name=name: seen.update({name: out[0]}))
    a = torch.rand(1, R, 10, 12).softmax(dim=1)
    network(pixels, a, upsample(a, scale, "bicubic").softmax(dim=1))

    found = representations(network, pixels)
    assert [*found] == ["stem", "shared", "unmixing", "sr", "to_unmixing", "to_sr"]
    for name, features in found.items():
        assert torch.equal(features, seen[name]), name


@torch.no_grad()
def test_attention() -> None:
    r"""Tests that the weights are those which the network applies."""
    network, pixels = make_network(), make_pixels()
    features, weights = representations(network, pixels), attention(network, pixels)
    assert [*weights] == ["to_unmixing", "to_sr"]

    for name, own, other in (("to_unmixing", "unmixing", "sr"), ("to_sr", "sr", "unmixing")):
        part, w = network.get_submodule(name), weights[name]
        assert w.shape == (4, 2, 2)
        assert (w > 0).all()
        torch.testing.assert_close(w.sum(dim=-1), torch.ones(4, 2))

        # Channel by channel, two to a head
        v = part.value(features[other][None])[0]
        mixed = torch.stack([w[i // 2, i % 2] @ v[i // 2 * 2 :][:2].flatten(1) for i in range(8)])
        added = part.out(mixed.view_as(v)[None])[0]
        torch.testing.assert_close(features[own] + added, features[name])

    # Two ways, not one
    assert (weights["to_unmixing"] - weights["to_sr"].mT).abs().max() > 1e-2


# Similarity


def make_features(C: int, n: int) -> Tensor:
    return torch.randn(C, C, dtype=torch.float64) @ torch.randn(C, n, dtype=torch.float64)


@pytest.mark.parametrize(("C", "D", "n"), [(1, 1, 5), (3, 7, 40), (12, 4, 9)])
def test_cka_definition(C: int, D: int, n: int) -> None:
    r"""Tests the form in channels against the definition in pixels: HSIC of the Gram matrices."""
    x, y = make_features(C, n) + 3, make_features(D, n) - 5
    H = torch.eye(n, dtype=torch.float64) - 1 / n
    K, L = H @ x.T @ x @ H, H @ y.T @ y @ H
    expected = (K * L).sum() / ((K * K).sum() * (L * L).sum()).sqrt()

    assert cka(x, y) == pytest.approx(float(expected), rel=1e-12)
    assert cka(y, x) == pytest.approx(float(expected), rel=1e-12)


def test_cka_of_one_channel() -> None:
    # The squared correlation
    x, y = torch.randn(2, 1, 30, dtype=torch.float64)
    expected = np.corrcoef(x[0], y[0])[0, 1] ** 2
    assert cka(x, y) == pytest.approx(expected, rel=1e-12)


def test_cka_invariances() -> None:
    x, y = make_features(5, 60), make_features(6, 60)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q

    assert cka(x, x) == pytest.approx(1, abs=1e-12)
    assert cka(x, 1e-6 * x + 4) == pytest.approx(1, abs=1e-9)
    assert cka(x, rotation @ y * 1e5) == pytest.approx(cka(x, y), rel=1e-9)
    assert cka(x.view(5, 6, 10), y.view(6, 6, 10)) == pytest.approx(cka(x, y), rel=1e-12)
    assert 0 < cka(x, y) < 1

    # Not to any linear map: it is more than what can be read off
    stretched = torch.diag(torch.tensor([100.0, 1, 1, 1, 1])).double() @ x
    assert cka(x, stretched) < 0.95


def test_cka_of_independent_features() -> None:
    r"""Tests that CKA falls with the number of pixels, to what chance leaves."""
    # For whitened features, E |X Y^T|^2 = C D n against |X X^T| |Y Y^T| = sqrt(C D) n^2
    for n in (100, 10_000):
        values = [cka(torch.randn(4, n), torch.randn(9, n)) for _ in range(20)]
        assert np.mean(values) == pytest.approx(6 / n, rel=0.25)


def test_cka_errors() -> None:
    with pytest.raises(ValueError, match=r"same pixels, got \(2, 5\) and \(2, 6\)"):
        cka(torch.randn(2, 5), torch.randn(2, 6))
    for constant in (torch.zeros(2, 5), torch.full((2, 5), 0.1)):
        with pytest.raises(ValueError, match="'y' should vary over pixels"):
            cka(torch.randn(2, 5), constant)


# Probes


@pytest.mark.parametrize(("rows", "cols", "size", "folds"), [(16, 24, 8, 5), (13, 21, 4, 3)])
def test_blocks(rows: int, cols: int, size: int, folds: int) -> None:
    index = blocks(rows, cols, size=size, folds=folds, seed=3)
    assert index.shape == (rows, cols)
    assert index.unique().tolist() == [*range(folds)]

    # One value a block, and blocks dealt out evenly
    corners = index[::size, ::size]
    for r in range(rows):
        for c in range(cols):
            assert index[r, c] == corners[r // size, c // size]
    counts = corners.flatten().bincount()
    assert counts.max() - counts.min() <= 1

    # By the seed alone
    assert torch.equal(index, blocks(rows, cols, size=size, folds=folds, seed=3))
    assert not torch.equal(index, blocks(rows, cols, size=size, folds=folds, seed=4))


def test_blocks_errors() -> None:
    with pytest.raises(ValueError, match="5 blocks of size 8, got 4"):
        blocks(16, 16)


@pytest.mark.parametrize(("s", "ridge"), [(1, 1e-3), (2, 1e-3), (2, 0.5), (1, 1e-14)])
def test_probe(s: int, ridge: float) -> None:
    r"""Tests the probe against least squares of numpy, fold by fold and target by target."""
    C, h, w = 4, 16, 24
    x = make_features(C, h * w).view(C, h, w) * torch.tensor([1e-3, 1, 50, 1])[:, None, None] + 7
    planted = torch.tensor([3.0, 0.1])[:, None, None] * x[1:3]
    target = torch.randn(2, s * h, s * w) + F.interpolate(planted[None], scale_factor=s)[0]
    folds = blocks(h, w)

    expected = []
    for k in range(2):
        errors = 0.0
        for rows in range(s):
            for cols in range(s):
                t = target[k, rows::s, cols::s]
                for fold in range(5):
                    X, X_ = (x[:, where].T.numpy() for where in (folds != fold, folds == fold))
                    T, T_ = (t[where].numpy() for where in (folds != fold, folds == fold))
                    Z, Z_ = ((v - X.mean(axis=0)) / X.std(axis=0, ddof=1) for v in (X, X_))

                    # The penalty, as rows that ask for zero
                    left = np.vstack([Z, np.sqrt(ridge * len(Z)) * np.eye(C)])
                    right = np.concatenate([T - T.mean(), np.zeros(C)])
                    W = np.linalg.lstsq(left, right, rcond=None)[0]
                    errors += ((T_ - T.mean() - Z_ @ W) ** 2).sum()
        expected.append(1 - errors / ((target[k] - target[k].mean()) ** 2).sum())

    found = probe(x, target, folds, ridge=ridge)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_probe_finds_what_is_planted() -> None:
    h = w = 40
    folds, a = blocks(h, w), torch.randn(2, h, w)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    mixed = torch.einsum("ij,jhw->ihw", rotation, torch.cat([a, torch.randn(6, h, w)]))

    # Whole, however it is mixed, scaled and hidden behind features of large variance
    assert (probe(mixed, a, folds) > 0.999).all()
    assert (probe(1e-6 * mixed + 2e-6, a, folds) > 0.999).all()
    loud = torch.cat([mixed, 1e6 * torch.randn(1, h, w)])
    assert (probe(loud, a, folds) > 0.999).all()

    # Half of the variance of the first, nothing of the second
    half = torch.cat([a[:1] + torch.randn(1, h, w), torch.randn(3, h, w)])
    found = probe(half, a, folds)
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert abs(found[1]) < 0.02

    # By rote is not enough: as many features as pixels, and none of them tells
    noise = torch.randn(1000, h, w)
    assert (probe(noise, a, folds, ridge=1e-6) < 0).all()


def test_probe_of_finer_targets() -> None:
    # Each of the s x s pixels is predicted on its own: an s-fold interleaving is read off whole
    x = torch.randn(4, 24, 24)
    target = F.pixel_shuffle(x, 2)
    assert probe(x, target, blocks(24, 24)).item() > 0.999
    assert probe(x[:1], target, blocks(24, 24)).item() == pytest.approx(0.25, abs=0.05)


def test_probe_errors() -> None:
    x, folds = torch.randn(4, 24, 24), blocks(24, 24)
    with pytest.raises(ValueError, match=r"same multiple .* got \(2, 48, 24\) and \(4, 24, 24\)"):
        probe(x, torch.randn(2, 48, 24), folds)
    constant = torch.stack([torch.randn(24, 24), torch.ones(24, 24)])
    with pytest.raises(ValueError, match="Each target should vary"):
        probe(x, constant, folds)


# Training


def test_snapshots() -> None:
    pairs, M = make_pairs_of_noise()
    options = {"steps": 6, "learning_rate": 1e-2, "seed": 1}
    network, twin = make_network(), make_network()
    twin.load_state_dict(network.state_dict())
    before = make_pixels()
    start = representations(network, before)
    copies = snapshots(network, pairs, M, at=[0, 2, 6], **options)
    assert [*copies] == [0, 2, 6]

    # The first is the untrained network; they do not change with it
    for name, features in representations(copies[0], before).items():
        assert torch.equal(features, start[name])
    assert (copies[2].stem.weight - copies[6].stem.weight).abs().max() > 1e-4

    # Copying changes nothing
    weights = []
    train(
        twin, [pairs], M, **options, progress=lambda *_: weights.append(twin.stem.weight.clone())
    )
    for step, copy in copies.items():
        assert torch.equal(copy.stem.weight, weights[step])
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


# Costs


@pytest.mark.parametrize(("channels", "scale"), [(8, 2), (32, 3)])
def test_costs(channels: int, scale: int) -> None:
    network, pixels = Smile(B, R, scale, channels, attention=True), make_pixels()
    table = costs(network, pixels, repeats=3)
    assert [*table.index] == [name for name, _ in network.named_children()]

    # By hand: two operations per multiplication with addition, of layers and of attention
    C, n, heads = channels, 120, 4
    block = 2 * n * (9 * C + 2 * C * C + 2 * C * C)
    attends = 2 * n * (4 * C * C + 2 * C * C // heads)
    flops = {
        "stem": 2 * n * (B + R + 1) * C,
        "shared": 2 * block,
        "unmixing": block,
        "sr": 2 * block,
        "to_unmixing": attends,
        "to_sr": attends,
        "head": 2 * n * C * R,
        "head_hr": 2 * n * C * R * scale**2,
    }
    assert table["flops"].to_dict() == flops

    # Weights, biases, gains and temperatures
    block = 10 * C + C + (2 * C * C + 2 * C) + (2 * C * C + C)
    parameters = {
        "stem": (B + R + 2) * C,
        "shared": 2 * block,
        "unmixing": block,
        "sr": 2 * block,
        "to_unmixing": 4 * (C * C + C) + heads,
        "to_sr": 4 * (C * C + C) + heads,
        "head": (C + 1) * R,
        "head_hr": (C + 1) * R * scale**2,
    }
    assert table["parameters"].to_dict() == parameters
    assert table["parameters"].sum() == sum(p.numel() for p in network.parameters())


def test_seconds() -> None:
    network, pixels = Smile(B, R, 2, 32, attention=True), make_pixels(48, 48)
    seconds = costs(network, pixels, repeats=5)["seconds"]

    # Sixty times the operations of the head take longer
    assert (seconds > 0).all()
    assert seconds["shared"] > seconds["head"]

    # Nothing is left behind
    for part in network.children():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
