r"""Tests for the smile_core.objective module."""

import math
import pytest
import torch

from torch import Tensor
from torch.nn.utils import parameters_to_vector

from smile_core import objective, scenes
from smile_core.degradation import degrade
from smile_core.lifting import interpolate, lift
from smile_core.mixing import unit, unmix_pixels
from smile_core.network import Smile
from smile_core.objective import Level, Pair, features, losses, make_pairs, train
from smile_core.weighting import WEIGHTINGS

OFFSETS = ((0, 0), (0, 1), (1, 0), (1, 1))


@pytest.fixture
def scene() -> tuple[Tensor, Tensor]:
    r"""Makes an image (180, 24, 24), its pixels of about unit norm, and unit endmembers."""
    scene = scenes.synthetic(size=24, endmembers=3, smoothness=2.0, seed=3)
    return scene.image / scene.image.norm(dim=0).mean(), unit(scene.M)


def show_all(image: Tensor) -> Tensor:
    return torch.ones(image.shape[1:]).bool()


def make_network(M: Tensor, scale: int = 2) -> Smile:
    torch.manual_seed(0)
    return Smile(*M.shape, scale, channels=8)


def make_true_pair(M: Tensor, scale: int = 2) -> Pair:
    r"""Makes a pair whose abundances need no correction."""
    a_hr = torch.randn(3, 8, 12).softmax(dim=0)
    rho = 0.5 + torch.rand(1, 8, 12)
    x = torch.einsum("br,rhw->bhw", M, a_hr) * rho
    y, a = degrade(x, scale), degrade(a_hr, scale, brightness=rho)
    half = torch.zeros(1, 1, 8, 12)
    half[..., :6] = 1
    return Pair(
        features(Level(y, a, degrade(rho, scale)[0])),
        a[None],
        a_hr[None],
        rho[None],
        torch.einsum("br,bhw->rhw", M, unit(y))[None],
        torch.einsum("br,bhw->rhw", M, unit(x))[None],
        half,
        1 - half,
    )


def make_squares(M: Tensor) -> list[list[Pair]]:
    r"""Makes the pairs of squares of three materials, whose edges the lifting blurs."""
    squares = torch.arange(6)[:, None] + torch.arange(6)
    image = M[:, (squares % 3).repeat_interleave(4, 0).repeat_interleave(4, 1)]

    return [make_pairs(image, M, show_all(image), 2, "share", 0)]


def test_features() -> None:
    image = torch.rand(5, 3, 4)
    image[:, 1, 1] = 0
    level = Level(image, torch.rand(2, 3, 4), torch.rand(3, 4))
    level.brightness[1, 1] = 0
    seen = features(level)

    assert seen.shape == (1, 8, 3, 4)
    assert seen.isfinite().all()
    torch.testing.assert_close(seen[0, :5, 0, 0], image[:, 0, 0] / image[:, 0, 0].norm() * 5**0.5)
    assert torch.equal(seen[0, 5:7], level.a)
    torch.testing.assert_close(seen[0, 7, 0, 0], level.brightness[0, 0].log())


@pytest.mark.parametrize(("size", "scale"), [((24, 24), 2), ((9, 11), 2), ((10, 13), 3)])
@pytest.mark.parametrize("convention", ["share", "plain"])
def test_make_pairs(
    scene: tuple[Tensor, Tensor], size: tuple[int, int], scale: int, convention: str
) -> None:
    image, M = scene
    image = image[:, : size[0], : size[1]]
    mask = torch.rand(size) < 0.9
    pairs = make_pairs(image, M, mask, scale, convention, seed=0)
    assert len(pairs) == 4

    for pair, (top, left) in zip(pairs, OFFSETS, strict=True):
        # The fine image, from another corner on
        h, w = (size[0] - top) // scale, (size[1] - left) // scale
        inside = (..., slice(top, top + scale * h), slice(left, left + scale * w))
        x, y = image[inside], degrade(image[inside], scale)
        assert torch.equal(pair.projection_hr[0], torch.einsum("br,bhw->rhw", M, unit(x)))

        # The coarse image, unmixed and lifted
        a, brightness, _ = unmix_pixels(y, M, convention)
        a_hr, brightness_hr = lift(a, brightness, scale)
        assert torch.equal(pair.features, features(Level(y, a, brightness)))
        assert torch.equal(pair.projection[0], torch.einsum("br,bhw->rhw", M, unit(y)))
        for value, expected in (
            (pair.a, a),
            (pair.a_hr, a_hr),
            (pair.brightness_hr[0], brightness_hr),
        ):
            assert torch.equal(value[0], expected)

        # What is shown, in two parts
        both = pair.training + pair.validation
        assert torch.equal(both[0, 0].bool(), mask[inside])
        assert both.max() == 1


def test_held_out(scene: tuple[Tensor, Tensor]) -> None:
    image, M = scene
    firsts = []
    for seed in range(8):
        pairs = make_pairs(image, M, show_all(image), 2, "share", seed)
        held_out = pairs[0].validation[0, 0]

        # Tiles of 8 x 8 pixels, at least one of them and not all
        tiles = held_out[::8, ::8]
        assert torch.equal(held_out, tiles.repeat_interleave(8, 0).repeat_interleave(8, 1))
        assert 0 < tiles.sum() < tiles.numel()

        # In all pairs the same pixels of the image
        for pair, (top, left) in zip(pairs, OFFSETS, strict=True):
            h, w = pair.validation.shape[-2:]
            expected = held_out[top : top + h, left : left + w]
            assert torch.equal(pair.validation[0, 0], expected)
        firsts.append(tiles)

    # About a fifth; others with another seed
    assert 0.1 < torch.stack(firsts).mean() < 0.35
    assert len({tuple(tiles.flatten().tolist()) for tiles in firsts}) > 4
    again = make_pairs(image, M, show_all(image), 2, "share", 7)[0].validation[0, 0]
    assert torch.equal(again[::8, ::8], firsts[-1])


def test_nothing_shown(scene: tuple[Tensor, Tensor]) -> None:
    image, M = scene
    assert make_pairs(image, M, ~show_all(image), 2, "share", 0) == []

    # Too small for a pixel and its blocks
    assert make_pairs(image[:, :1, :9], M, show_all(image[:, :1, :9]), 2, "share", 0) == []


def test_losses(scene: tuple[Tensor, Tensor]) -> None:
    image, M = scene
    pair = make_pairs(image, M, show_all(image), 2, "share", 0)[0]
    where = (torch.rand(1, 1, 24, 24) < 0.7).float()
    network = make_network(M)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        a, a_hr = network(pair.features, pair.a, pair.a_hr)
        values = losses(network, pair, M.T @ M, where)

    # Spectrum by spectrum
    chord = (unit(torch.einsum("br,rhw->bhw", M, a_hr[0])) - unit(image)).norm(dim=0)
    torch.testing.assert_close(values["sr"], chord[where[0, 0] == 1].mean(), rtol=1e-3, atol=0)

    # At LR, where a pixel counts as far as it is shown
    weight = where[0, 0].reshape(12, 2, 12, 2).mean(dim=(1, 3))
    y = image.reshape(-1, 12, 2, 12, 2).mean(dim=(2, 4))
    chord = (unit(torch.einsum("br,rhw->bhw", M, a[0])) - unit(y)).norm(dim=0)
    expected = (weight * chord).sum() / weight.sum()
    torch.testing.assert_close(values["unmixing"], expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("scale", [2, 4])
def test_losses_of_the_truth(scene: tuple[Tensor, Tensor], scale: int) -> None:
    _, M = scene
    pair = make_true_pair(M, scale)
    network = make_network(M, scale)

    for where in (pair.training, pair.validation, torch.zeros_like(pair.training)):
        values = losses(network, pair, M.T @ M, where)
        assert values["unmixing"] < 1e-3
        assert values["sr"] < 1e-3

    # They see it where it is moved
    values = losses(network, pair._replace(a_hr=pair.a_hr.flip(1)), M.T @ M, pair.training)
    assert values["sr"] > 0.05


def test_orientations() -> None:
    x = torch.rand(1, 2, 4, 6)
    turned = [objective._turn(x, k) for k in range(8)]
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8

    # LR and HR are turned alike
    for k, t in enumerate(turned):
        torch.testing.assert_close(degrade(t, 2), objective._turn(degrade(x, 2), k))


@pytest.mark.parametrize("steps", [1, 7, 10, 25])
def test_train(scene: tuple[Tensor, Tensor], steps: int) -> None:
    image, M = scene
    material = [make_pairs(image, M, show_all(image), 2, "share", 0)]
    calls, runs = [], []
    for _ in range(2):
        network = make_network(M)
        history = train(
            network,
            material,
            M,
            steps=steps,
            learning_rate=3e-3,
            progress=lambda *call: calls.append(call),
        )
        runs.append((history, network.state_dict()))

    # Lengths: every step; at steps 0, 10, ... and the last
    assert [len(history[k]) for k in ("unmixing", "sr")] == 2 * [steps]
    assert len(history["validation"]) == 1 + -(-steps // 10)
    assert calls[: steps + 1] == [("training", step, steps) for step in range(steps + 1)]

    # The weights are those of the last validation
    pair = material[0][0]
    with torch.no_grad():
        held_out = losses(network, pair, M.T @ M, pair.validation)["sr"]
    assert held_out.item() == history["validation"][-1]

    # The same again
    (first, weights), (second, weights_) = runs
    assert first == second
    assert all(torch.equal(weights[name], weights_[name]) for name in weights)


def test_train_helps(scene: tuple[Tensor, Tensor]) -> None:
    r"""Tests that what is learned on some tiles holds on others, on a scene with structure."""
    _, M = scene
    material = make_squares(M)
    history = train(make_network(M), material, M, steps=60, learning_rate=1e-2)
    assert history["validation"][-1] < 0.8 * history["validation"][0]


def test_overfitting_is_told(scene: tuple[Tensor, Tensor]) -> None:
    r"""Tests that the validation rises where there is nothing to learn."""
    _, M = scene
    history = train(make_network(M), [[make_true_pair(M)]], M, steps=20, learning_rate=1e-2)
    assert history["validation"][1] > 2 * history["validation"][0]
    assert history["validation"][-1] > history["validation"][0]


def test_rounding_is_not_learned(
    scene: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Tests that errors of the size of rounding lead to nearly the same network.

    On another device sums are rounded otherwise. Of gradients that are rounding errors, the usual
    steps make steps of full length.
    """
    image, M = scene
    clean = make_pairs(image, M, show_all(image), 2, "share", 0)
    noisy = [
        p._replace(features=p.features * (1 + 2.0**-23 * torch.randn_like(p.features)))
        for p in clean
    ]

    def distance() -> float:
        found = []
        for pairs in (clean, noisy):
            network = make_network(M)
            train(network, [pairs], M, steps=100, learning_rate=3e-3)
            found.append(network(clean[0].features, clean[0].a, clean[0].a_hr)[1].detach())
        return float((found[0] - found[1]).square().mean().sqrt())

    near = distance()
    assert near < 3e-5
    monkeypatch.setattr(objective, "EPSILON", 1e-8)
    assert distance() > near


def test_several_images(scene: tuple[Tensor, Tensor]) -> None:
    r"""Tests that losses are means over the images."""
    _, M = scene
    pairs = [make_true_pair(M), make_true_pair(M)]
    pairs[1] = pairs[1]._replace(a_hr=pairs[1].a_hr.flip(1))
    history = train(
        make_network(M), [[p] for p in pairs], M, steps=1, learning_rate=1e-9, interval=1
    )

    with torch.no_grad():
        trained = [losses(make_network(M), p, M.T @ M, p.training) for p in pairs]
        held_out = [losses(make_network(M), p, M.T @ M, p.validation)["sr"] for p in pairs]
    for name in ("unmixing", "sr"):
        expected = sum(values[name] for values in trained) / 2
        assert history[name][0] == pytest.approx(expected.item(), rel=1e-4)
    assert history["validation"][0] == pytest.approx(sum(held_out).item() / 2, rel=1e-4)


def test_affinity(scene: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests what is measured of the two tasks while they are trained, and what the gate does."""
    image, M = scene
    material = [make_pairs(image, M, show_all(image), 2, "share", 0)]
    combine, steps = objective.combine, []

    def watch(main: Tensor, guide: Tensor, weighting: str) -> Tensor:
        steps.append([main, guide, combine(main, guide, weighting)])
        return steps[-1][-1]

    monkeypatch.setattr(objective, "combine", watch)
    options = {"steps": 45, "learning_rate": 1e-2, "interval": 20}
    network, free = make_network(M), make_network(M)
    history = train(network, material, M, **options, weighting="gate")
    assert len(steps) == 45

    # Of every step, of the steps 0, 20 and 40
    layers = list(network.shared_parameters())
    assert len(history["cosine"]) == 45
    for name in [f"cosine.{layer}" for layer in layers] + [
        "affinity.sr_to_unmixing",
        "affinity.unmixing_to_sr",
    ]:
        assert len(history[name]) == 3
        assert history[name][0] == 0  # heads of zero let nothing through
        assert -1 <= history[name][-1] <= 1

    # The cosine of what the gate got; where it is negative, unmixing is served as if alone
    for measured, (main, guide, gated) in zip(history["cosine"], steps, strict=True):
        expected = torch.nn.functional.cosine_similarity(main, guide, dim=0)
        assert measured == pytest.approx(expected.item(), abs=1e-5)
        served = main @ (main + guide) if measured > 0 else main @ main
        torch.testing.assert_close(main @ gated, served, rtol=1e-3, atol=1e-9)
    assert min(history["cosine"]) < 0 < max(history["cosine"])

    # By default, the plain sum, and other weights
    train(free, material, M, **options)
    assert len(steps) == 90
    for main, guide, added in steps[45:]:
        torch.testing.assert_close(added, main + guide)
    assert min(main @ guide for main, guide, _ in steps[45:]) < 0
    assert not torch.equal(free.stem.weight, network.stem.weight)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weightings(scene: tuple[Tensor, Tensor], weighting: str) -> None:
    _, M = scene
    material = make_squares(M)
    added, network = make_network(M), make_network(M)
    options = {"steps": 25, "learning_rate": 1e-2}
    train(added, material, M, **options)
    history = train(network, material, M, **options, weighting=weighting)

    # The losses are told as they are, not as they are weighed
    pair = objective._draw(material[0], torch.Generator().manual_seed(0))
    before = losses(make_network(M), pair, M.T @ M, pair.training)
    assert history["sr"][0] == pytest.approx(before["sr"].item(), rel=1e-4)

    # Each arrives elsewhere, and has learned
    assert torch.equal(network.stem.weight, added.stem.weight) == (weighting == "sum")
    assert history["validation"][-1] < history["validation"][0]


def test_uncertainty(scene: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that the variances are learned towards the losses."""
    image, M = scene
    material = [make_pairs(image, M, show_all(image), 2, "share", 0)]
    uncertain, seen = objective.uncertain, []

    def watch(evaluated: dict[str, Tensor], log_variances: Tensor) -> dict[str, Tensor]:
        seen.append(log_variances.tolist())
        return uncertain(evaluated, log_variances)

    monkeypatch.setattr(objective, "uncertain", watch)
    options = {"steps": 150, "learning_rate": 1e-2, "weighting": "uncertainty"}
    history = train(make_network(M), material, M, **options)
    assert seen[0] == [0.0, 0.0]
    for i, name in enumerate(("unmixing", "sr")):
        assert seen[-1][i] == pytest.approx(math.log(history[name][-1]), abs=0.5)


@pytest.mark.parametrize("without", ["brightness", "lifting"])
def test_pairs_without(scene: tuple[Tensor, Tensor], without: str) -> None:
    image, M = scene
    full, less = (
        make_pairs(image, M, show_all(image), 2, "share", 0, without=part)[0]
        for part in ("", without)
    )
    assert torch.equal(less.features, full.features)
    assert torch.equal(less.projection_hr, full.projection_hr)

    # What the network starts from, and what it is brought down by
    if without == "brightness":
        weight = torch.ones_like(less.a[0, 0])
        assert torch.equal(less.a_hr[0], lift(less.a[0], weight, 2)[0])
        assert not torch.equal(less.a_hr, full.a_hr)
        assert torch.equal(less.brightness_hr, torch.ones_like(less.brightness_hr))
    else:
        assert torch.equal(less.a_hr[0], interpolate(less.a[0], 2))
        assert not torch.equal(less.brightness_hr, torch.ones_like(less.brightness_hr))


def test_gradients_of_the_tasks(scene: tuple[Tensor, Tensor]) -> None:
    r"""Tests that the two gradients add up to that of all losses, and are those of their own."""
    image, M = scene
    pair = make_pairs(image, M, show_all(image), 2, "share", 0)[0]
    network = make_network(M)
    for head in (network.head, network.head_hr):
        torch.nn.init.normal_(head.weight, std=0.1)
    shared = [p for layer in network.shared_parameters().values() for p in layer]

    evaluated = losses(network, pair, M.T @ M, pair.training)
    main, guide = objective._gradients(evaluated, shared)
    for ours, names in ((main, ["unmixing"]), (guide, ["sr"])):
        evaluated = losses(network, pair, M.T @ M, pair.training)
        expected = torch.autograd.grad(sum(evaluated[name] for name in names), shared)
        torch.testing.assert_close(ours, parameters_to_vector(expected), rtol=1e-3, atol=1e-5)

    # All other parameters have that of the sum
    evaluated = losses(network, pair, M.T @ M, pair.training)
    expected = torch.autograd.grad(sum(evaluated.values()), [*network.sr.parameters()])
    for p, h in zip(network.sr.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, h)
