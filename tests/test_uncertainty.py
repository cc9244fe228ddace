r"""Tests for the smile_core.uncertainty module."""

import pytest
import torch

from dataclasses import replace
from torch import Tensor
from typing import Any

from smile_core import Settings, unmix
from smile_core.checks import DeadPixelsWarning
from smile_core.endmembers import Endmembers
from smile_core.scenes import synthetic
from smile_core.uncertainty import FACTOR, Spread, ensemble

QUICK = Settings(restarts=8, rounds=20)


def make_spread(**values: Any) -> Spread:
    r"""Makes the spread of one pixel, with two endmembers and three bands."""
    given = {
        "M": torch.tensor([[0.5, 0.1], [0.5, 0.6], [0.0, 0.3]]),
        "M_spread": torch.full((3, 2), 0.1),
        "a": torch.tensor([0.9, 0.1])[:, None, None],
        "a_spread": torch.tensor([0.03, 0.0])[:, None, None],
        "a_noise": torch.tensor([0.12, 0.04])[:, None, None],
        "convention": "share",
        "misfit": torch.tensor([1.0, 1.05, 3.0]),
        "factor": 3.0,
    }
    return Spread(**given | values)


def draw_members(monkeypatch: pytest.MonkeyPatch, members: list[Tensor]) -> list[Tensor]:
    r"""Makes members of given endmembers, and returns the list of the images that they get."""
    images: list[Tensor] = []

    def find(image: Tensor, R: int, convention: str, **options: Any) -> Endmembers:
        images.append(image)
        return Endmembers(members[len(images) - 1], convention, None, {})

    monkeypatch.setattr("smile_core.uncertainty.find_endmembers", find)
    return images


# What a spread says


def test_interval() -> None:
    r"""Tests the ends of a case by hand: 0.15 is the hypotenuse of 3 * 0.03 and 0.12."""
    spread = make_spread()
    torch.testing.assert_close(spread.a_std.flatten(), torch.tensor([0.15, 0.04]))
    torch.testing.assert_close(spread.M_std, torch.full((3, 2), 0.3))
    assert spread.kept.tolist() == [True, True, False]
    assert repr(spread).endswith("'share', 2 of 3 members)")

    # The part of a Gaussian within a standard deviation
    low, high = spread.interval(0.6826894921)
    torch.testing.assert_close(low.flatten(), torch.tensor([0.75, 0.06]))
    torch.testing.assert_close(high.flatten(), torch.tensor([1.0, 0.14]))
    low, high = spread.band(0.6826894921)
    torch.testing.assert_close(low[:, 0], torch.tensor([0.2, 0.2, 0.0]))
    torch.testing.assert_close(high[:, 0], torch.tensor([0.8, 0.8, 0.3]))

    # Where noise is all, the factor does not matter
    assert torch.equal(replace(spread, factor=9.0).interval()[0][1], spread.interval()[0][1])


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 90, float("nan")])
def test_bad_level(level: float) -> None:
    with pytest.raises(ValueError, match=f"level should be above 0 and below 1, got {level}"):
        make_spread().interval(level)
    with pytest.raises(ValueError, match=f"level should be above 0 and below 1, got {level}"):
        make_spread().band(level)


# Noise


@pytest.mark.parametrize("snr", [1e-2, 1e-3])
def test_noise_has_its_covariance(snr: float) -> None:
    r"""Tests the noise against its covariance, and coverage against the levels.

    Inside the simplex, the abundances are least squares under their sum: linear in the pixel, with
    the covariance :math:`\sigma^2 (G^{-1} - G^{-1} 1 1^\top G^{-1} / 1^\top G^{-1} 1)`.
    """
    g = torch.Generator().manual_seed(3)
    M = torch.rand(30, 3, generator=g, dtype=torch.float64)
    a = 0.2 + 0.4 * torch.rand(3, 60, 60, generator=g, dtype=torch.float64)
    a = a / a.sum(dim=0)
    x = torch.einsum("br,rhw->bhw", M, a)
    x = x + snr * torch.randn(x.shape, generator=g, dtype=torch.float64)

    spread = ensemble(x, M, convention="plain", members=24)
    assert not spread.M_spread.any() and not spread.a_spread.any()
    assert len(spread.misfit) == 0
    inverse = torch.linalg.inv(M.mT @ M)
    one = inverse.sum(dim=1)
    expected = snr**2 * (inverse.diagonal() - one.square() / one.sum())
    found = spread.a_noise.square().mean(dim=(1, 2)).double()
    torch.testing.assert_close(found, expected, rtol=0.06, atol=0)

    # 10,800 abundances, two thirds of them free: 2 % are more than three standard deviations
    for level in (0.5, 0.8, 0.9, 0.95):
        low, high = spread.interval(level)
        inside = float(((low <= a) & (a <= high)).double().mean())
        assert inside == pytest.approx(level, abs=0.02)


def test_nothing_is_uncertain_without_noise() -> None:
    scene = synthetic(16, 3, snr=float("inf"), seed=0)
    spread = ensemble(scene.image, scene.M, members=2)
    assert spread.a_std.max() < 1e-4


def test_dead_pixels() -> None:
    r"""Tests that nothing is said of pixels that say nothing, and nothing of others changes."""
    scene = synthetic(16, 3, snr=40, seed=0)
    image = scene.image.clone()
    image[:, 3, 4] = 0
    with pytest.warns(UserWarning, match="1 of 256 pixels are dead"):
        spread = ensemble(image, scene.M, members=4)
    low, high = spread.interval(0.8)
    assert not low[:, 3, 4].any() and (high[:, 3, 4] == 1).all()
    alive = torch.ones(16, 16).bool()
    alive[3, 4] = False
    assert spread.a_noise[:, alive].max() < 0.3


# Members


def test_members_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that members that are one but for order and brightness have no spread."""
    scene = synthetic(16, 3, snr=40, seed=1)
    M = unmix(scene.image, 3, mode="single", convention="share", settings=QUICK).M
    orders = ([2, 0, 1], [1, 0, 2], [0, 1, 2], [1, 2, 0])
    scales = (1.0, 2.0, 0.3, 1e3)
    same = [s * M[:, order] for s, order in zip(scales, orders, strict=True)]
    draw_members(monkeypatch, same)
    spread = ensemble(scene.image, 3, convention="share", members=4, settings=QUICK)
    assert torch.equal(spread.M, M)
    assert spread.M_spread.max() < 1e-6 and spread.a_spread.max() < 1e-5
    assert spread.kept.all() and (spread.a_noise > 0).any()


def test_members_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests the spread of members that were moved by hand, one of them out of all reason."""
    scene = synthetic(16, 2, snr=30, brightness="off", seed=1)
    options = {"convention": "plain", "settings": QUICK}
    whole = unmix(scene.image, 2, mode="single", **options)
    M, move = whole.M / whole.level, torch.tensor([[1e-3, 2e-3]])
    moved = [M + move, M - move, M + move, M - move, M.flip(0)]
    draw_members(monkeypatch, moved)
    spread = ensemble(scene.image, 2, members=5, **options)
    assert spread.kept.tolist() == [True, True, True, True, False]
    expected = (move * whole.level).expand_as(M)
    torch.testing.assert_close(spread.M_spread, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(spread.M_std, FACTOR * expected, rtol=1e-3, atol=0)

    # With two endmembers a pixel is a point on a line: both abundances move alike
    torch.testing.assert_close(spread.a_spread[0], spread.a_spread[1], rtol=1e-3, atol=1e-6)
    assert spread.a_spread.max() > 1e-3


def test_mostly_dead() -> None:
    r"""Tests an image with next to nothing to draw from."""
    image = torch.zeros(20, 40, 40)
    image[:, 3:7, 3:7] = synthetic(8, 3, seed=0).image[:20, :4, :4]
    with pytest.warns(DeadPixelsWarning):
        assert ensemble(image, 3, members=3, settings=QUICK).a.isfinite().all()


def test_more_endmembers_than_bands() -> None:
    image = synthetic(8, 3, seed=0).image[:4]
    spread = ensemble(image, torch.rand(4, 6) + 0.1, members=2, settings=QUICK)
    assert spread.a_noise.shape == (6, 8, 8) and spread.a_noise.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (3, 11), (7, 6), (16, 16)])
def test_resampled_pixels_keep_their_neighbours(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Tests that blocks of pixels, which are numbered, come whole and from everywhere."""
    h, w = shape
    number = torch.arange(float(h * w)).reshape(h, w)
    image = torch.stack([1000 + number, 2000 - number, torch.full_like(number, 1000)])
    images = draw_members(monkeypatch, [torch.eye(3)[:, :2]] * 40)
    ensemble(image, 2, members=40, convention="plain", settings=QUICK)
    bh, bw = min(4, h), min(4, w)
    seen = torch.zeros(h * w)
    for y in images:
        assert y.shape == (3, h, w)
        level = float(image.norm(dim=0).mean())
        drawn = (y[0] * level - 1000).round().long()
        torch.testing.assert_close(y[1] * level, 2000.0 - drawn, rtol=0, atol=0.01)
        seen += drawn.flatten().bincount(minlength=h * w)
        for r in range(0, h, bh):
            for c in range(0, w, bw):
                block = drawn[r : r + bh, c : c + bw] - drawn[r, c]
                rows, cols = torch.arange(len(block)), torch.arange(block.shape[1])
                assert torch.equal(block, w * rows[:, None] + cols)
    assert (seen > 0).all() and not all(torch.equal(y, images[0]) for y in images)

    # As it is, where members differ by their starts alone
    kept = draw_members(monkeypatch, [torch.eye(3)[:, :2]] * 2)
    ensemble(image, 2, members=2, convention="plain", resample=False, settings=QUICK)
    assert torch.equal(kept[0], kept[1])
    torch.testing.assert_close(kept[0] * level, image)


# The whole


def test_starts_alone_tell_little() -> None:
    r"""Tests that corners, the optimum of their problem, hardly depend on the starts."""
    scene = synthetic(24, 3, snr=30, seed=2)
    alone, resampled = (
        ensemble(scene.image, 3, members=4, resample=resample, settings=QUICK)
        for resample in (False, True)
    )
    assert alone.M_spread.norm() < 0.1 * resampled.M_spread.norm()


def test_seed_and_unit() -> None:
    r"""Tests that the seed decides all, and the unit of the image nothing but that of M."""
    scene = synthetic(16, 3, snr=30, brightness="off", seed=0)
    options = {"members": 3, "convention": "plain", "settings": QUICK}
    first, again, other, large = (
        ensemble(factor * scene.image, 3, seed=seed, **options)
        for factor, seed in ((1, 0), (1, 0), (1, 1), (1024, 0))
    )
    assert torch.equal(first.a_std, again.a_std) and torch.equal(first.M_std, again.M_std)
    assert not torch.equal(first.a_std, other.a_std)
    torch.testing.assert_close(large.a_std, first.a_std, rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(large.M_std, 1024 * first.M_std, rtol=1e-2, atol=0.05)


@pytest.mark.parametrize(("convention", "R"), [("share", 1), ("area", "auto"), ("plain", 3)])
def test_center_is_the_result(convention: str, R: int | str) -> None:
    r"""Tests that abundances and endmembers are those of mode single, in their convention."""
    scene = synthetic(12, 3, snr=30, seed=0)
    options = {"convention": convention, "settings": QUICK}
    spread = ensemble(scene.image, R, members=2, **options)
    whole = unmix(scene.image, R, mode="single", **options)
    assert spread.convention == convention
    torch.testing.assert_close(spread.M, whole.M)
    torch.testing.assert_close(spread.a, whole.a, rtol=0, atol=1e-5)
    for x in (spread.a_std, spread.M_std):
        assert x.isfinite().all() and (x >= 0).all()


@pytest.mark.parametrize("members", [0, 1, 2.0, True, "16"])
def test_bad_members(members: object) -> None:
    with pytest.raises(ValueError, match="members should be a whole number of at least 2, got"):
        ensemble(torch.ones(5, 4, 4), 2, members=members)
