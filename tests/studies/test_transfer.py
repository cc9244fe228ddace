r"""Tests for the smile_core.studies.transfer module."""

import math
import pytest
import torch

from imports import imported

from smile_core import Settings, scenes, unmix
from smile_core.metrics import match
from smile_core.studies.transfer import (
    SOURCES,
    carry,
    draw_dates,
    draw_places,
    follow,
    gather,
    narrow,
)
from smile_core.studies.variability import vary

QUICK = {"restarts": 3, "steps": 20}


def test_dates() -> None:
    r"""Tests that the truth wanders from the one end to the other, and light and noise do not."""
    dates = draw_dates(5, 16, 3, seed=1)
    first, middle, last = (dates[k] for k in (0, 2, 4))
    torch.testing.assert_close(middle.a, (first.a + last.a) / 2)
    torch.testing.assert_close(middle.M, (first.M + last.M) / 2)
    change = (last.M / first.M - 1).abs()
    assert float(change.max()) == pytest.approx(0.05, rel=1e-4)
    torch.testing.assert_close(last.a.sum(dim=0), torch.ones(16, 16))
    assert not torch.equal(first.brightness, last.brightness)
    # Up to variation and noise, an image is what its truth says
    mixed = torch.einsum("br,rhw->bhw", middle.M, middle.a) * middle.brightness
    error = (middle.image - mixed).norm() / mixed.norm()
    assert 0.5 * math.hypot(0.03, 10**-1.5) < float(error) < 1.1 * math.hypot(0.03, 10**-1.5)
    assert torch.equal(draw_dates(5, 16, 3, seed=1)[2].image, middle.image)


def test_sources() -> None:
    r"""Tests that a change of any module that errors depend on is noticed."""
    assert imported("studies.transfer") <= set(SOURCES)


def test_places() -> None:
    r"""Tests that materials are those of the first place, and nothing else is."""
    first, second = places = draw_places(2, 16, 3, seed=1)
    assert torch.equal(second.M, first.M)
    assert float((second.a - first.a).abs().mean()) > 0.1
    assert float((second.brightness - first.brightness).abs().mean()) > 0.01
    for place in places:
        mixed = torch.einsum("br,rhw->bhw", place.M, place.a) * place.brightness
        assert 0.02 < float((place.image - mixed).norm() / mixed.norm()) < 0.06
    # More places leave the first ones as they are
    for place, same in zip(places, draw_places(3, 16, 3, seed=1), strict=False):
        assert torch.equal(place.image, same.image)


def test_gather() -> None:
    r"""Tests that others teach what they hold, and are not the scene itself."""
    anew, applied = (gather(number=n, seed=1, size=32, restarts=8, steps=20) for n in (0, 2))
    assert applied["lr"] < 0.06 and applied["seconds"] < anew["seconds"]
    assert applied["lr"] != anew["lr"] and applied["sad"] != anew["sad"]


def test_start_keeps_the_order() -> None:
    r"""Tests, against the truth, that endmembers come in the order of those to start from."""
    settings = Settings(**QUICK)
    first, second = draw_dates(2, 24, 4, seed=0)
    learned = unmix(first.image, 4, settings=settings)
    order = match(learned.M, first.M)[0]
    warm = unmix(second.image, 4, start=learned, settings=settings)
    assert torch.equal(match(warm.M, second.M)[0], order)
    assert warm.convention == learned.convention
    turned = torch.tensor([2, 0, 3, 1])
    cold = unmix(second.image, learned.M[:, turned], start=learned, settings=settings)
    assert torch.equal(match(cold.M, second.M)[0], turned.argsort()[order])


@pytest.mark.parametrize("purity", [1.0, 0.7])
def test_start_keeps_the_order_of_corners(purity: float) -> None:
    r"""Tests the same where endmembers are the corners of a simplex."""
    scene = scenes.synthetic(32, 4, purity=purity, brightness="off", snr=40, seed=3)
    learned = unmix(scene.image, 4, mode="single", settings=Settings(**QUICK))
    learned.M[:] = scene.M[:, [3, 1, 0, 2]]
    warm = unmix(scene.image, 4, mode="single", start=learned, settings=Settings(**QUICK))
    assert match(warm.M, scene.M)[0].tolist() == [2, 1, 3, 0]


@pytest.mark.parametrize("unit", [1.0, 5000.0, 1e-3])
def test_start_of_another_convention(unit: float) -> None:
    r"""Tests the same where only the earlier brightness was divided out, in any unit."""
    scene = scenes.synthetic(32, 3, brightness="off", seed=0)
    image = unit * vary(scene, 0.03, 40)
    options = {"mode": "single", "settings": Settings(**QUICK)}
    learned = unmix(image, 3, convention="share", **options)
    learned.M[:] = learned.M[:, [2, 0, 1]]
    warm = unmix(image, 3, convention="plain", start=learned, **options)
    assert match(warm.M, learned.M)[0].tolist() == [0, 1, 2]


def test_bad_start() -> None:
    r"""Tests that a result of another sensor or number of materials is named."""
    scene = scenes.synthetic(16, 3, seed=0)
    learned = unmix(scene.image, 3, mode="single", settings=Settings(**QUICK))
    for image, R in ((scene.image[:-1], 3), (scene.image, 4)):
        with pytest.raises(ValueError, match=rf"{len(image)} bands of the image and {R} endm"):
            unmix(image, R, start=learned)
    with pytest.raises(ValueError, match="start should be of class Unmixing, got dict"):
        unmix(scene.image, 3, start={})
    with pytest.raises(ValueError, match=r"no more endmembers than .* with light, 2, got 3"):
        unmix(scene.image[:, :1, :2], "auto", start=learned)
    assert unmix(scene.image, "auto", mode="single", start=learned).M.shape == (180, 3)


def test_network_of_another_kind_is_left() -> None:
    r"""Tests that weights that do not fit, as of another width, are not started from."""
    image = scenes.synthetic(32, 3, seed=2, brightness="smooth", snr=30).image
    settings = Settings(restarts=3, rounds=10, steps=30)
    narrower = Settings(restarts=3, rounds=10, steps=30, channels=8)
    learned = unmix(image, 3, settings=settings)
    assert learned.network
    M = learned.M
    cold, warm = (unmix(image, M, start=s, settings=narrower) for s in (None, learned))
    assert torch.equal(cold.a, warm.a)
    other = unmix(image, M, start=learned, settings=settings)
    assert not torch.equal(unmix(image, M, settings=settings).a_hr, other.a_hr)


def test_carry() -> None:
    r"""Tests, where the truth is known, that the other half is unmixed well each way."""
    row = carry("synthetic", seed=0, adaptation=5, **QUICK)
    for name in ("single", "anew", "applied", "adapted"):
        assert 0 < row[f"{name}.lr"] < 0.02 and row[f"{name}.sad"] < 0.02
        assert row[f"{name}.hr"] < 0.06
    assert row["applied.seconds"] < row["anew.seconds"]


def test_follow() -> None:
    r"""Tests that, starting from the date before, no endmember changes its place."""
    warm = follow(warm=True, seed=0, number=3, size=32, adaptation=5, **QUICK)
    assert warm["swaps"] == 0
    assert warm["sad"] < 0.2 and warm["turn"] < 0.2 and warm["seconds"] > 0


def test_narrow() -> None:
    r"""Tests the number of parameters against a count by hand, none where there is no network."""
    assert narrow("synthetic", 0, seed=0, **QUICK)["parameters"] == 0
    row = narrow("synthetic", 4, seed=0, restarts=3, steps=30)
    B, R, C = 180, 4, 4
    block = (9 * C + C) + C + (C * 2 * C + 2 * C) + (2 * C * C + C)
    heads = (C * R + R) + (C * 4 * R + 4 * R)
    assert row["parameters"] == (B + R + 1) * C + C + 5 * block + heads
    assert row["lr"] < 0.02
