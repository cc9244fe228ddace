r"""Tests for the smile_core.guidance module."""

import pytest
import torch

from torch import Tensor

from smile_core import guidance, scenes
from smile_core.degradation import degrade
from smile_core.guidance import Rehearsal, factors_of, guide, learn, material, rehearse, step_up
from smile_core.lifting import interpolate, lift, reconcile
from smile_core.mixing import project_simplex, unit, unmix_pixels
from smile_core.network import Smile
from smile_core.objective import Level, Pair, features

OPTIONS = {
    "channels": 8,
    "steps": 40,
    "learning_rate": 3e-3,
    "seed": 0,
    "device": torch.device("cpu"),
}


def scene(size: int) -> tuple[Level, Tensor, Tensor]:
    r"""Returns a scene at two resolutions, LR with abundances, and its endmembers."""
    data = scenes.synthetic(size=size, endmembers=3, smoothness=1.0, seed=0)
    x, M = data.image / data.image.norm(dim=0).mean(), unit(data.M)
    y = degrade(x, 2)

    return Level(y, *unmix_pixels(y, M)[:2]), x, M


@pytest.mark.parametrize(
    ("scale", "factors"), [(2, [2]), (3, [3]), (4, [2, 2]), (6, [6]), (8, [2, 2, 2])]
)
def test_factors_of(scale: int, factors: list[int]) -> None:
    assert factors_of(scale) == factors


@pytest.mark.parametrize("given", [False, True])
def test_material(given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests what is trained on: the image, and at x4 two resolutions of what is shown."""
    seen, make_pairs = [], guidance.make_pairs

    def watch(image: Tensor, M: Tensor, mask: Tensor, **options: object) -> list[Pair]:
        seen.append((image, mask))
        return make_pairs(image, M, mask, **options)

    monkeypatch.setattr(guidance, "make_pairs", watch)
    _, x, M = scene(32)
    y, shown = degrade(x, 4), torch.ones(32, 32).bool()
    shown[:, 17:] = False
    hr = {"hr": x * shown, "shown": shown} if given else {}
    pairs = material(y, M, [2, 2], "share", 0, **hr)

    # Of mixed pixels, those that mix nothing hidden
    visible = x * shown
    half = visible.reshape(180, 16, 2, 16, 2).mean(dim=(2, 4))
    half_shown = shown.reshape(16, 2, 16, 2).all(dim=3).all(dim=1)
    expected = [(y, torch.ones(8, 8).bool()), (half, half_shown), (visible, shown)]
    expected = expected if given else expected[:1]
    assert len(pairs) == len(expected)
    for (image, mask), (image_, mask_) in zip(seen, expected, strict=True):
        torch.testing.assert_close(image, image_)
        assert torch.equal(mask, mask_)

    # Of one tile, nothing is left to train on
    assert not pairs[0]


def test_learn() -> None:
    level, _, M = scene(64)
    pairs = material(level.image, M, [2], "share", 0)
    state = torch.get_rng_state()
    network, history = learn([[], *pairs], M, 2, **OPTIONS)

    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert len(history["sr"]) == OPTIONS["steps"]

    # The same seed, the same weights
    again, _ = learn(pairs, M, 2, **OPTIONS)
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in network.state_dict().items())


def test_step_up() -> None:
    level, _, M = scene(64)
    a_hr, brightness_hr = lift(level.a, level.brightness, 2)
    network, _ = learn(material(level.image, M, [2], "share", 0), M, 2, **OPTIONS)

    # Without a network, or without trust in it, this is lifting
    for up in (step_up(level, 2), step_up(level, 2, network, 0)):
        assert torch.equal(up.a, a_hr)
        assert torch.equal(up.brightness, brightness_hr)

    # Else by the share of what the network adds, both brought to what comes down
    given = level.a[None], a_hr[None]
    with torch.no_grad():
        corrected = network(features(level), *given)[1][0]
    added = reconcile(corrected, level.a, brightness_hr, 2, 1)
    added = added - reconcile(a_hr, level.a, brightness_hr, 2, 1)
    assert added.abs().max() > 1e-3
    for share in (0.5, 1):
        up = step_up(level, 2, network, share).a
        torch.testing.assert_close(up, project_simplex(a_hr + share * added))

    # A network that adds nothing changes nothing
    torch.testing.assert_close(step_up(level, 2, Smile(*M.shape, channels=8)).a, a_hr)


def test_rehearsal() -> None:
    level, _, M = scene(128)
    h, calls = 64, []
    r = rehearse(level, M, 2, "share", progress=lambda *c: calls.append(c[0]), **OPTIONS)
    assert set(calls) == {"rehearsal"}

    # One octave below, from the formulas
    y = degrade(level.image, 2)
    a, brightness, _ = unmix_pixels(y, M)
    for name, estimate in (
        ("interpolated", interpolate(a, 2)),
        ("lifted", lift(a, brightness, 2)[0]),
    ):
        error = (estimate - level.a).square().sum() / (3 * h * h)
        assert getattr(r, name) == pytest.approx(float(error), rel=1e-4)

    # The share is the best there, and helps
    assert 0 <= r.share <= 1
    assert r.guided <= r.lifted < r.interpolated
    assert r.helps


def test_rehearsal_of_small_images() -> None:
    level, _, M = scene(16)
    tiny = Level(level.image[:, :1], level.a[:, :1], level.brightness[:1])

    # Nothing to learn from, then nothing to bring down
    r = rehearse(level, M, 2, "share", **OPTIONS)
    assert r.share == 0
    assert r.guided == r.lifted < r.interpolated
    assert rehearse(tiny, M, 2, "share", **OPTIONS) == Rehearsal(0, 0, 0, 0)
    assert guide(tiny, M, 2, "share", **OPTIONS)[0] is None


@pytest.mark.parametrize(("share", "trained"), [(0.0, False), (0.5, True)])
def test_guide(share: float, trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(3.0, 2.0, 1.0, share))
    level, _, M = scene(64)
    up, network, history = guide(level, M, 4, "share", **OPTIONS)

    assert (network is not None) == trained
    assert history["share"] == [share]
    assert ("sr" in history) == trained
    expected = step_up(step_up(level, 2, network, share), 2)
    assert torch.equal(up.a, expected.a)
    assert up.a.shape == (3, 128, 128)


def test_without_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    (level, x, M), options = scene(64), OPTIONS | {"steps": 8}
    up, network, history = guide(level, M, 2, "share", without="rehearsal", **options)

    # All of the correction is taken, and nothing was asked
    assert history["share"] == [1.0]
    assert not [name for name in history if name.startswith("rehearsal")]
    assert torch.equal(up.a, step_up(level, 2, network, 1).a)

    # Neither are tiles that are held out
    monkeypatch.setattr(guidance, "_held_out_share", lambda *_: 0.5)
    shown = torch.zeros(64, 64).bool()
    shown[:32, :32] = True
    for part, share in (("", 0.5), ("rehearsal", 1.0)):
        hr = {"hr": x * shown, "shown": shown}
        _, _, history = guide(level, M, 2, "share", **hr, without=part, **options)
        assert history["share"] == [share]


def test_without_network() -> None:
    level, _, M = scene(128)
    up, network, history = guide(level, M, 2, "share", without="network", **OPTIONS)

    assert network is None
    assert history["share"] == history["rehearsal.share"] == [0.0]
    assert history["rehearsal.guided"] == history["rehearsal.lifted"]
    assert "sr" not in history
    assert torch.equal(up.a, lift(level.a, level.brightness, 2)[0])


@pytest.mark.parametrize("part", ["brightness", "lifting"])
def test_step_up_without(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests what takes the place of the weighted operator, and of lifting, in each step."""
    level, _, M = scene(64)
    for up, scale in (
        (step_up(level, 2, without=part), 2),
        (guidance.bring_up(level, 4, without=part), 4),
    ):
        expected = level
        for _ in range(scale // 2):
            a_hr, rho = lift(expected.a, expected.brightness, 2, without=part)
            expected = Level(level.image, a_hr, rho)
        assert torch.equal(up.a, expected.a)
        assert torch.equal(up.brightness, expected.brightness)

    # Without lifting, to be no better than interpolation does not speak against the guide
    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(1.0, 1.0, 1.0, 0.0))
    up, _, _ = guide(level, M, 2, "share", without=part, **OPTIONS)
    assert (up is None) == (part == "brightness")

    # The network's correction, too, comes down unweighted
    network = Smile(*M.shape, channels=8)
    torch.nn.init.normal_(network.head_hr.bias)
    a_hr, rho = lift(level.a, level.brightness, 2, without=part)
    with torch.no_grad():
        corrected = network(features(level), level.a[None], a_hr[None])[1][0]
    weight = torch.ones_like(rho) if part == "brightness" else rho
    before, after = (reconcile(x, level.a, weight, 2, 1) for x in (a_hr, corrected))
    expected = project_simplex(a_hr + after - before)
    torch.testing.assert_close(step_up(level, 2, network, without=part).a, expected)
    assert (expected - step_up(level, 2, network).a).abs().max() > 1e-3


def test_dead_pixels_are_no_truth() -> None:
    r"""Tests that abundances of 1 / R, which dead pixels get, count in no rehearsal."""
    level, _, M = scene(64)
    image = level.image.clone()
    image[:, 8:16, 8:16] = 0.0
    dead = Level(image, *unmix_pixels(image, M)[:2])
    other = dead._replace(a=dead.a.clone())
    other.a[:, 8:16, 8:16] = torch.eye(3)[:, 0, None, None]

    assert rehearse(dead, M, 2, "share", **OPTIONS) == rehearse(other, M, 2, "share", **OPTIONS)


def test_guide_by_a_part() -> None:
    level, x, M = scene(64)
    shown = torch.zeros(64, 64).bool()
    shown[:, :32] = True
    up, network, history = guide(level, M, 2, "share", hr=x * shown, shown=shown, **OPTIONS)

    # Where it is shown, the HR image is unmixed itself
    a, brightness, _ = unmix_pixels(x, M)
    torch.testing.assert_close(up.a[:, shown], a[:, shown])
    torch.testing.assert_close(up.brightness[shown], brightness[shown])

    # The rest is trusted as far as held-out tiles are right
    assert "rehearsal.share" not in history
    assert 0 < history["share"][0] <= 1
    expected = step_up(level, 2, network, history["share"][0]).a
    torch.testing.assert_close(up.a[:, ~shown], expected[:, ~shown])


def test_guide_by_a_corner() -> None:
    r"""Tests a part that is too small for a tile to be held out."""
    level, x, M = scene(64)
    shown = torch.zeros(64, 64).bool()
    shown[:2, :2] = True
    for _ in range(8):
        shown = shown.roll(8, dims=1)
        hr = {"hr": x * shown, "shown": shown}
        pairs = material(level.image, M, [2], "share", OPTIONS["seed"], **hr)[1]
        if pairs and not pairs[0].validation.any():
            break
    else:
        pytest.fail("every corner is held out")

    # Then there is a rehearsal
    up, network, history = guide(level, M, 2, "share", **hr, **OPTIONS)
    assert history["share"] == history["rehearsal.share"]
    expected = step_up(level, 2, network, history["share"][0]).a
    torch.testing.assert_close(up.a[:, ~shown], expected[:, ~shown])
