r"""Tests for the smile_core.unmixing module."""

import copy
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import warnings

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from torch import Tensor

import smile_core

from smile_core import guidance, scenes, unmixing
from smile_core.archetypes import archetypes
from smile_core.degradation import degrade
from smile_core.guidance import Rehearsal
from smile_core.lifting import lift, reconcile
from smile_core.metrics import armse, score
from smile_core.mixing import convert, fcls, project_simplex, unit, unmix_pixels
from smile_core.objective import Level, features
from smile_core.result import Unmixing
from smile_core.scenes import Scene
from smile_core.studies.variability import vary
from smile_core.unmixing import Settings, unmix

TINY = Settings(restarts=4, rounds=20, steps=20, channels=8)
MODES = ("single", "self", "partial", "supervised")
CONVENTIONS = ("share", "area", "plain")
TENSORS = ("M", "a", "a_hr", "brightness", "brightness_hr", "gap", "dead")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return scenes.synthetic(size=32, endmembers=3, smoothness=2.0, seed=0)


@pytest.fixture(scope="module")
def varied(scene: Scene) -> Scene:
    r"""Returns the scene with materials that vary, whose endmembers are archetypes."""
    return replace(scene, image=vary(scene, 0.03, 30))


def guide(mode: str, hr: Tensor) -> dict[str, Tensor]:
    r"""Returns the arguments of a mode. In `partial`, the left half is shown."""
    mask = torch.zeros(hr.shape[1:]).bool()
    mask[:, : hr.shape[2] // 2] = True
    return {"partial": {"hr": hr, "hr_mask": mask}, "supervised": {"hr": hr}}.get(mode, {})


def assert_same(u: Unmixing, v: Unmixing) -> None:
    for name in TENSORS:
        assert torch.equal(getattr(u, name), getattr(v, name)), name
    assert u.history == v.history
    assert list(u.network) == list(v.network)
    assert all(torch.equal(u.network[name], v.network[name]) for name in u.network)


def assert_valid(u: Unmixing) -> None:
    for name in TENSORS:
        assert getattr(u, name).isfinite().all(), name
        assert getattr(u, name).device.type == "cpu", name
    for a in (u.a, u.a_hr):
        assert (a >= 0).all()
        assert ((a.sum(dim=0) - 1).abs() < 1e-5).all()
    assert (u.brightness >= 0).all()
    assert (u.brightness_hr >= 0).all()


# What comes out


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("h", "w", "scale"), [(9, 11, 2), (10, 9, 3), (9, 8, 4)])
def test_constraints(scene: Scene, mode: str, convention: str, h: int, w: int, scale: int) -> None:
    hr = F.interpolate(scene.image[None], (scale * h, scale * w), mode="nearest")[0]
    u = unmix(
        degrade(hr, scale),
        scene.M,
        scale=scale,
        mode=mode,
        convention=convention,
        settings=Settings(steps=3, channels=8),
        **guide(mode, hr),
    )

    assert_valid(u)
    assert u.M.shape == (180, 3)
    assert u.a.shape == (3, h, w)
    assert u.a_hr.shape == (3, scale * h, scale * w)
    assert u.brightness.shape == u.gap.shape == u.dead.shape == (h, w)
    assert u.brightness_hr.shape == (scale * h, scale * w)
    assert (u.mode, u.convention, u.scale) == (mode, convention, scale)

    # The solve is certified
    assert u.gap.abs().max() < 1e-7
    assert not u.dead.any()

    # Endmembers are those given, of unit norm where they are shares
    torch.testing.assert_close(u.M, unit(scene.M) if convention == "share" else scene.M)
    if convention == "plain":
        torch.testing.assert_close(u.brightness, torch.ones(h, w))
        torch.testing.assert_close(u.brightness_hr, torch.ones(scale * h, scale * w))

    # The SR image is mixed of endmembers, and is like the image that it was made of
    i, j = scale * h // 2, scale * w - 1
    x = u.brightness_hr[i, j] * (u.M @ u.a_hr[:, i, j])
    torch.testing.assert_close(u.x_hr[:, i, j], x)
    assert (u.x_hr - hr).square().mean().sqrt() < 0.5 * hr.std()

    # LR abundances are the mean of HR ones
    if mode != "single":
        mean = u.a_hr.reshape(3, h, scale, w, scale).mean(dim=(2, 4))
        torch.testing.assert_close(u.a, mean)


@pytest.mark.parametrize("corners", [False, True])
def test_single(scene: Scene, varied: Scene, corners: bool) -> None:
    image = (scene if corners else varied).image
    u = unmix(image, 3, mode="single", settings=TINY)

    # The constrained solve, and its bicubic interpolation
    a, brightness, _ = unmix_pixels(image, u.M, "share")
    torch.testing.assert_close(u.a, a, rtol=0, atol=1e-5)
    torch.testing.assert_close(u.brightness, brightness)
    bicubic = F.interpolate(u.a[None], scale_factor=2, mode="bicubic")[0].clamp_min(0)
    torch.testing.assert_close(u.a_hr, bicubic / bicubic.sum(dim=0))

    # Nothing is trained
    names = ("structure", "rank", "offset", "thickness", "pixels")
    evidence = {f"evidence.{name}" for name in names}
    if corners:
        assert set(u.history) == evidence
    else:
        assert set(u.history) == evidence | {"evidence.ratio", "misfit", "volume", "chosen"}
        assert len(u.history["misfit"]) == TINY.restarts
    assert not u.network
    with pytest.raises(ValueError, match="No network was trained in mode 'single'"):
        u.build_network()


def test_supervised(scene: Scene) -> None:
    y = degrade(scene.image, 2)
    u = unmix(y, scene.M, mode="supervised", hr=scene.image, settings=TINY)

    # Where the HR image is known, there is nothing to guess, but for what the solve trades off
    a, brightness, _ = unmix_pixels(scene.image, unit(scene.M), "share")
    assert armse(u.a_hr, a) < 2e-3
    torch.testing.assert_close(u.brightness_hr, brightness, rtol=1e-2, atol=0)

    # In mode `partial`, half of it
    p = unmix(y, scene.M, mode="partial", settings=TINY, **guide("partial", scene.image))
    assert armse(p.a_hr[..., :16], a[..., :16]) < 2e-3
    assert (p.a_hr[..., 16:] - a[..., 16:]).abs().max() > 0.1


@torch.no_grad()
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_self(scene: Scene, scale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that the network's correction is applied once, at the share of the rehearsal."""
    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(3.0, 2.0, 1.0, 0.7))
    settings = Settings(steps=60, learning_rate=1e-2, channels=8, mu=1e6)  # moves nothing
    u = unmix(scene.image, scene.M, scale=scale, settings=settings)
    network, y = u.build_network(), scene.image / scene.image.norm(dim=0).mean()
    assert u.history["share"] == [0.7]

    # By a factor of four, in two steps of two, for two has more to learn from
    factor = 2 if scale == 4 else scale
    assert network.scale == factor
    a, brightness, _ = unmix_pixels(y, unit(scene.M), "share")
    lifted, brightness_hr = lift(a, brightness, factor)
    _, corrected = network(features(Level(y, a, brightness)), a[None], lifted[None])
    assert (corrected[0] - lifted).abs().max() > 0.01
    before, after = (reconcile(x, a, brightness_hr, factor, 1) for x in (lifted, corrected[0]))
    a_hr = project_simplex(lifted + 0.7 * (after - before))
    if scale == 4:
        a_hr, brightness_hr = lift(a_hr, brightness_hr, 2)
    torch.testing.assert_close(u.a_hr, a_hr, rtol=0, atol=1e-4)

    # Hence the unmixed image is what comes down, up to what the network disagrees
    down = degrade(u.a_hr, scale, brightness=u.brightness_hr[None])
    assert (down - a).square().mean().sqrt() < 0.03


@pytest.mark.parametrize("given", [False, True])
def test_fallback(scene: Scene, given: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that a guide that does not help leaves the very result of mode `single`."""
    monkeypatch.setattr(guidance, "rehearse", lambda *_, **__: Rehearsal(1.0, 1.0, 1.0, 0.5))
    endmembers = scene.M if given else 3
    u, single = (unmix(scene.image, endmembers, mode=m, settings=TINY) for m in ("self", "single"))

    for name in TENSORS:
        assert torch.equal(getattr(u, name), getattr(single, name)), name
    assert not u.network
    assert u.history["rehearsal.guided"] == [1.0]
    assert u.mode == "self"
    assert u.seconds["training"] >= 0


@pytest.mark.parametrize("convention", ["share", "plain"])
def test_accessible_solve(varied: Scene, convention: str) -> None:
    r"""Tests that the last stage lowers its objective, and tells how far it is from the end."""
    u = unmix(degrade(varied.image, 2), 3, convention=convention, settings=TINY)

    steps = u.history.get("alternation", [1.0])
    assert len(steps) == (TINY.alternations + 1 if convention == "share" else 1)
    assert all(after < before for before, after in pairwise(steps))
    assert u.history["objective"][-1] < u.history["objective"][0]
    assert u.history["gap"][-1] < 1e-8 * u.history["objective"][-1]
    if convention == "share":
        assert u.history["objective"][0] == pytest.approx(steps[-1], rel=1e-9)


def test_numbers_of_numpy(scene: Scene, tmp_path: Path) -> None:
    r"""Tests that settings and options can be NumPy's, to the end."""
    settings = Settings(restarts=np.int64(4), rounds=np.int32(5), mu=np.float32(0.5))
    assert settings == Settings(restarts=4, rounds=5, mu=0.5)
    options = {"mode": "single", "scale": np.int64(2), "seed": np.uint8(1)}
    u = unmix(scene.image, np.int64(3), settings=settings, **options)
    u.save(tmp_path / "u.npz")
    assert Unmixing.load(tmp_path / "u.npz").settings == u.settings


def test_without_restart_choice(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    given, find = [], unmixing.find_endmembers

    def watch(*args: object, **options: object) -> object:
        given.append(options.get("tolerance"))
        return find(*args, **options)

    monkeypatch.setattr(unmixing, "find_endmembers", watch)
    for part in ("", "restart choice"):
        unmix(scene.image, 3, mode="single", settings=replace(TINY, without=part))
    assert given == [None, 0.0]

    # Which leaves that of the smallest misfit
    found = archetypes(scene.image.flatten(1), 3, restarts=16, rounds=20, tolerance=0.0)
    assert found.chosen == found.misfit.argmin()


def test_without_accessible_solve(varied: Scene) -> None:
    r"""Tests that the endmembers stay, and that the gap says what is missing."""
    y = degrade(varied.image, 2)
    u, v = (unmix(y, 3, settings=replace(TINY, without=p)) for p in ("", "accessible solve"))
    single = unmix(y, 3, mode="single", settings=TINY)
    torch.testing.assert_close(v.M, single.M, rtol=0, atol=1e-6)
    assert (u.M - single.M).abs().max() > 1e-5
    assert not torch.equal(v.a_hr, u.a_hr)
    assert v.gap.max() > 1e3 * u.gap.max()


def test_weighting(scene: Scene) -> None:
    r"""Tests that it reaches the training, and the training alone."""
    y = degrade(scene.image, 2)
    options = {"mode": "supervised", "hr": scene.image}
    settings = replace(TINY, learning_rate=1e-2)
    u, v = (
        unmix(y, scene.M, settings=replace(settings, weighting=name), **options)
        for name in ("gate", "mgda")
    )
    assert any(not torch.equal(u.network[k], v.network[k]) for k in u.network)
    torch.testing.assert_close(v.a_hr, u.a_hr, rtol=0, atol=1e-3)  # solved, where it is shown


@pytest.mark.parametrize("mode", MODES)
def test_area(scene: Scene, mode: str) -> None:
    y = degrade(scene.image, 2)
    options = {"mode": mode, "settings": TINY, **guide(mode, scene.image)}
    share, area = (unmix(y, 3, convention=c, **options) for c in ("share", "area"))

    # The same directions, the same network, the same pixels
    torch.testing.assert_close(unit(area.M), share.M)
    assert all(torch.equal(area.network[k], v) for k, v in share.network.items())
    torch.testing.assert_close(area.gap, share.gap)

    # a_area is proportional to a_share / |m|
    if mode != "single":
        torch.testing.assert_close(area.x_hr, share.x_hr, rtol=1e-3, atol=1e-4)
        a_hr = share.a_hr / area.M.norm(dim=0)[:, None, None]
        torch.testing.assert_close(area.a_hr, a_hr / a_hr.sum(dim=0), rtol=0, atol=1e-5)
    else:
        a = share.a / area.M.norm(dim=0)[:, None, None]
        torch.testing.assert_close(area.a, a / a.sum(dim=0), rtol=0, atol=1e-5)


def test_conventions_of_the_truth() -> None:
    r"""Tests, on noiseless mixtures, that each convention finds the abundances it stands for."""
    for brightness, convention in (("smooth", "area"), ("off", "plain"), ("smooth", "share")):
        scene = scenes.synthetic(size=8, endmembers=3, snr=np.inf, brightness=brightness)
        a, M, rho = scene.a, scene.M, scene.brightness
        if convention == "share":
            a, M, rho = convert(a, M, rho, M.norm(dim=0), "share")

        u = unmix(scene.image, scene.M, mode="single", convention=convention)
        torch.testing.assert_close(u.M, M)
        torch.testing.assert_close(u.a, a, rtol=0, atol=1e-3)
        torch.testing.assert_close(u.brightness, rho, rtol=1e-3, atol=0)


@pytest.mark.parametrize(("brightness", "expected"), [("off", "plain"), ("smooth", "share")])
@pytest.mark.parametrize("given", [False, True])
def test_convention_by_the_data(brightness: str, expected: str, given: bool) -> None:
    r"""Tests that "auto", the default, is the convention of the truth, and nothing beside it."""
    scene = scenes.synthetic(32, 3, brightness=brightness, snr=30)
    endmembers = scene.M if given else 3
    default, auto, named = (
        unmix(scene.image, endmembers, settings=TINY, **options)
        for options in ({}, {"convention": "auto"}, {"convention": expected})
    )
    assert default.convention == auto.convention == named.convention == expected
    assert_same(default, auto)
    for name in TENSORS:
        assert torch.equal(getattr(auto, name), getattr(named, name)), name
    assert ((auto.brightness - 1).abs().max() == 0) == (expected == "plain")


@pytest.mark.parametrize("R", [2, 4])
def test_number_by_the_data(R: int) -> None:
    r"""Tests that "auto" finds as many as there are, and what that number would have found."""
    image = scenes.synthetic(32, R, snr=30).image
    u, v = (unmix(image, n, mode="single", settings=TINY) for n in ("auto", R))
    assert u.M.shape == (180, R)
    assert_same(u, v)


# How good it is


@pytest.mark.parametrize("mode", ["single", "self"])
def test_recovery(mode: str) -> None:
    r"""Tests, end to end, that the truth of the synthetic scene is found."""
    scene = scenes.synthetic(size=32, endmembers=3, seed=2)
    settings = Settings(restarts=8, rounds=60, steps=40, channels=8)
    u = unmix(scene.image, 3, mode=mode, settings=settings)
    truth = convert(scene.a, scene.M, scene.brightness, scene.M.norm(dim=0), "share")

    scores = score(u.M, u.a, truth[1], truth[0])
    assert scores["sad_mean"] < 0.015
    assert scores["armse"] < 0.015

    # In the other convention, whose abundances depend on the norms that were found
    u = unmix(scene.image, 3, mode=mode, convention="area", settings=settings)
    assert score(u.M, u.a, scene.M, scene.a)["armse"] < 0.05


def test_guidance(scene: Scene) -> None:
    r"""Tests that each more of guidance brings the HR abundances nearer to the truth."""
    truth = convert(scene.a, scene.M, scene.brightness, scene.M.norm(dim=0), "share")[0]
    y = degrade(scene.image, 2)
    settings = Settings(steps=40, channels=8)
    hidden = ~guide("partial", scene.image)["hr_mask"]
    results = {
        m: unmix(y, scene.M, mode=m, settings=settings, **guide(m, scene.image)) for m in MODES
    }
    errors = [float(armse(results[m].a_hr, truth)) for m in MODES]
    unseen = [float(armse(results[m].a_hr, truth, hidden)) for m in MODES]

    assert all(after < 0.9 * before for before, after in pairwise(errors)), errors
    assert unseen[1] < 0.9 * unseen[0]
    assert unseen[2] < 0.9 * unseen[0]

    # It is learned, not lifted: the held-out loss fell. In mode `self`, too little is left of so
    # small an image to rehearse, and nothing is learned
    assert "validation" not in results["self"].history
    for mode in MODES[2:]:
        validation = results[mode].history["validation"]
        assert validation[-1] < validation[0]


@torch.no_grad()
def test_guidance_reaches_unmixing(scene: Scene) -> None:
    r"""Tests, in a network that `unmix` has trained, that the LR head listens to the SR branch."""
    y = degrade(scene.image, 2)
    settings = Settings(steps=60, learning_rate=1e-2, channels=8, attention=True)
    u = unmix(y, scene.M, mode="supervised", hr=scene.image, settings=settings)
    network = u.build_network()
    inputs = features(Level(y / y.norm(dim=0).mean(), u.a, u.brightness)), u.a[None], u.a_hr[None]
    guided, _ = network(*inputs)

    # The SR branch moves the LR abundances
    other = copy.deepcopy(network)
    for parameter in other.sr.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    assert (other(*inputs)[0] - guided).abs().max() > 1e-4

    # What they are without it
    for parameter in network.to_unmixing.out.parameters():
        parameter.zero_()
    assert (network(*inputs)[0] - guided).abs().max() > 1e-4


# What it depends on


@pytest.mark.parametrize("mode", MODES)
def test_seed(varied: Scene, mode: str) -> None:
    y = degrade(varied.image, 2)
    options = {"mode": mode, "settings": TINY, **guide(mode, varied.image)}
    state = torch.get_rng_state()
    u = unmix(y, 3, seed=3, **options)

    # The same again, whatever was drawn in between, and with a seed of NumPy
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert_same(u, unmix(y, 3, seed=np.int64(3), **options))

    # Another seed
    v = unmix(y, 3, seed=4, **options)
    assert not torch.equal(u.M, v.M)
    assert all(not torch.equal(u.network[k], v.network[k]) for k in ("stem.weight",) if u.network)


@pytest.mark.parametrize("mode", MODES)
def test_unit(scene: Scene, mode: str) -> None:
    y, hr = degrade(scene.image, 2), scene.image
    options = {"mode": mode, "settings": TINY}
    u = unmix(y, 3, **options, **guide(mode, hr))

    # Powers of two are exact
    for factor in (2.0**-20, 2.0**20):
        v = unmix(factor * y, 3, **options, **guide(mode, factor * hr))
        for name in ("M", "a", "a_hr", "gap"):
            assert torch.equal(getattr(u, name), getattr(v, name)), name
        for name in ("brightness", "brightness_hr"):
            assert torch.equal(factor * getattr(u, name), getattr(v, name)), name

    # Others are rounded
    for factor in (1e-6, 1e6):
        v = unmix(factor * y, scene.M, mode="single")
        torch.testing.assert_close(v.a, unmix(y, scene.M, mode="single").a, rtol=0, atol=1e-5)


@pytest.mark.parametrize("unit_of_light", [1e-30, 1e25])
def test_extreme_units(scene: Scene, unit_of_light: float) -> None:
    y = scene.image[:, :16, :16]
    u, v = (unmix(c * y, 3, settings=TINY) for c in (1.0, unit_of_light))
    torch.testing.assert_close(v.M, u.M, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(v.a, u.a, rtol=0, atol=1e-2)


def test_unit_of_endmembers(scene: Scene) -> None:
    # The brightness of areas is a number, their endmembers have the unit of the image
    u, v = (
        unmix(k * scene.image, 3, mode="single", convention="area", settings=TINY) for k in (1, 64)
    )
    assert torch.equal(64 * u.M, v.M)
    assert torch.equal(u.brightness, v.brightness)
    assert torch.equal(u.a, v.a)


def test_hidden(varied: Scene) -> None:
    r"""Tests that what is hidden of the HR image has no influence, in no stage."""
    y = degrade(varied.image, 2)
    kwargs = guide("partial", varied.image)
    u = unmix(y, 3, mode="partial", settings=TINY, **kwargs)

    for garbage in (torch.nan, -torch.inf, 0.0, 1e30):
        hr = torch.where(kwargs["hr_mask"], varied.image, garbage)
        v = unmix(y, 3, mode="partial", settings=TINY, hr=hr, hr_mask=kwargs["hr_mask"])
        assert_same(u, v)

    # What is shown has
    hr = torch.where(kwargs["hr_mask"], varied.image.flip(1), 0)
    v = unmix(y, 3, mode="partial", settings=TINY, hr=hr, hr_mask=kwargs["hr_mask"])
    assert not torch.equal(u.a_hr[..., 16:], v.a_hr[..., 16:])


# What goes in


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("given", [False, True])
def test_dead_pixels(scene: Scene, mode: str, convention: str, given: bool) -> None:
    hr = scene.image[:, :24, :24].clone()
    hr[:, 2:4, 4:6], hr[:, 10:12, 20:22] = 0.0, -0.1
    hr[:, 0, 0] = 0.0  # in an LR pixel that is alive
    y = degrade(hr, 2)
    with pytest.warns(
        UserWarning, match=r"2 of 144 pixels are dead: .* abundances 1 / R"
    ) as caught:
        u = unmix(
            y,
            scene.M if given else 3,
            mode=mode,
            convention=convention,
            settings=TINY,
            **guide(mode, hr),
        )
    assert caught[0].filename == __file__

    assert_valid(u)
    assert u.x_hr.isfinite().all()
    assert u.dead.nonzero().tolist() == [[1, 2], [5, 10]]
    assert torch.equal(u.a[:, u.dead], torch.full((3, 2), 1 / 3))
    assert not u.brightness[u.dead].any()
    assert not u.gap[u.dead].any()

    # At HR as well
    dead = torch.zeros(24, 24).bool()
    dead[2:4, 4:6] = dead[10:12, 20:22] = True
    dead[0, 0] = mode in ("partial", "supervised")
    torch.testing.assert_close(u.a_hr[:, dead], torch.full((3, int(dead.sum())), 1 / 3))
    assert torch.equal(u.brightness_hr == 0, dead)


def test_negative_values(scene: Scene) -> None:
    image = scene.image.clone()
    image[7, 3, 4] = -0.02
    with warnings.catch_warnings(action="error"):
        u = unmix(image, scene.M, mode="single", convention="plain")

    # They are kept, as they are
    a = fcls(image, scene.M)
    torch.testing.assert_close(u.a, a, rtol=0, atol=1e-5)
    clipped = unmix(image.clamp_min(0), scene.M, mode="single", convention="plain")
    assert (clipped.a - u.a)[:, 3, 4].abs().max() > 1e-4


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 9), (7, 5)])
@pytest.mark.parametrize("scale", [2, 3])
def test_too_small_to_train(shape: tuple[int, int], scale: int) -> None:
    u = unmix(0.1 + torch.rand(5, *shape), 1, scale=scale, settings=TINY)

    assert_valid(u)
    assert u.a_hr.shape == (1, scale * shape[0], scale * shape[1])
    assert not u.network


@pytest.mark.parametrize(
    "kind",
    ["noise", "constant", "one spectrum", "two spectra", "outlier", "zero band", "noiseless"],
)
@pytest.mark.parametrize("convention", ["auto", "share", "plain"])
def test_degenerate_images(kind: str, convention: str) -> None:
    r"""Tests that images that say little about endmembers are unmixed all the same."""
    image = scenes.synthetic(16, 3, snr=np.inf if kind == "noiseless" else 30).image[::20]
    light, where = 0.5 + torch.rand(16, 16), torch.rand(16, 16) > 0.5
    if kind == "noise":
        image = torch.rand(5, 8, 8)
    elif kind == "constant":
        image = torch.full((5, 16, 16), 0.3)
    elif kind == "one spectrum":
        image = light * image[:, :1, :1]
    elif kind == "two spectra":
        image = torch.where(where, image[:, :1, :1], image[:, -1:, -1:])
    elif kind == "outlier":
        image[:, 3, 3] *= 100
    elif kind == "zero band":
        image[2] = 0.0

    for endmembers in (1, 2, 3, len(image), "auto"):
        u = unmix(image, endmembers, convention=convention, settings=TINY)
        assert_valid(u)
        assert (u.M.norm(dim=0) > 0).all()
        assert u.gap.max() < 1e-5
        if kind in ("constant", "one spectrum") and u.convention == "share":
            x = u.brightness * torch.einsum("br,rhw->bhw", u.M, u.a)
            torch.testing.assert_close(x, image, rtol=1e-2, atol=0)


# What happens meanwhile


@pytest.mark.parametrize("mode", MODES)
def test_progress(scene: Scene, mode: str, capsys: pytest.CaptureFixture[str]) -> None:
    hr = vary(scenes.synthetic(size=64, endmembers=3, smoothness=2.0, seed=0), 0.03, 30)
    y, calls = degrade(hr, 2), []
    options = {"mode": mode, "settings": TINY, **guide(mode, hr)}
    result = unmix(y, 3, progress=lambda *call: calls.append(call), **options)

    # Stage by stage, up to the end; after a rehearsal in vain there is no training
    stages = {"archetypes": TINY.rounds}
    stages |= {"rehearsal": TINY.steps} if mode == "self" else {}
    stages |= {"training": TINY.steps} if result.network else {}
    assert result.network or mode in ("single", "self")
    assert list(dict.fromkeys(stage for stage, _, _ in calls)) == list(stages)
    for stage, total in stages.items():
        done = [k for name, k, n in calls if name == stage and n == total]
        assert len(done) == sum(name == stage for name, _, _ in calls)
        assert all(after == before + 1 for before, after in pairwise(done))
        assert done[-1] == total

    assert capsys.readouterr() == ("", "")


def test_threads(varied: Scene) -> None:
    before, seen = torch.get_num_threads(), []
    kwargs = {"mode": "single", "settings": TINY}
    unmix(
        varied.image,
        3,
        threads=3,
        progress=lambda *_: seen.append(torch.get_num_threads()),
        **kwargs,
    )
    assert set(seen) == {3}
    assert torch.get_num_threads() == before

    # Interrupted
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unmix(varied.image, 3, threads=3, progress=interrupt, **kwargs)
    assert torch.get_num_threads() == before


def test_provenance(scene: Scene) -> None:
    u = unmix(scene.image[:, :20, :20], 3, settings=TINY, device="cpu", seed=2)

    assert (u.seed, u.device, u.scale) == (2, "cpu", 2)
    assert u.versions["torch"] == torch.__version__
    assert set(u.versions) == {"python", "torch", "numpy", "smile-companion"}
    stages = dict(u.seconds)
    assert set(stages) == {"endmembers", "solve", "training", "refinement", "total"}
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=1e-3)
    assert repr(u).startswith("Unmixing(3 endmembers, 180 bands, 20 x 20 -> 40 x 40 pixels, mode")


def test_package() -> None:
    assert smile_core.unmix is unmix
    assert smile_core.Settings is Settings
    assert smile_core.Unmixing is Unmixing
    assert smile_core.scenes is scenes
    with pytest.raises(AttributeError, match="module 'smile_core' has no attribute 'mix'"):
        smile_core.mix  # noqa: B018
