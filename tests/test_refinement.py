r"""Tests for the smile_core.refinement module."""

import pytest
import torch

from itertools import pairwise
from torch import Tensor

from smile_core import scenes
from smile_core.archetypes import archetypes, candidates
from smile_core.degradation import degrade
from smile_core.metrics import armse
from smile_core.mixing import convert, unit, unmix_pixels
from smile_core.objective import Level
from smile_core.refinement import refine

OPTIONS = {"guidance": 1.0, "mu": 0.1, "alternations": 5}


def scene(brightness: str = "smooth", snr: float = torch.inf) -> tuple[Tensor, Level, Tensor]:
    r"""Returns an LR image without noise, and the truth at HR in the convention `share`."""
    data = scenes.synthetic(size=16, endmembers=3, snr=snr, brightness=brightness, seed=0)
    a, M, rho = convert(data.a, data.M, data.brightness, data.M.norm(dim=0), "share")

    return degrade(data.image, 2), Level(data.image, a, rho), M


@pytest.mark.parametrize("convention", ["share", "plain"])
def test_the_truth_stays(convention: str) -> None:
    r"""Tests that nothing moves where both images are explained already."""
    y, up, M = scene("off" if convention == "plain" else "smooth")
    if convention == "plain":
        data = scenes.synthetic(size=16, endmembers=3, snr=torch.inf, brightness="off", seed=0)
        up, M = Level(data.image, data.a, data.brightness), data.M

    for hr in ({}, {"hr": up.image, "shown": torch.ones_like(up.brightness).bool()}):
        refined = refine(y, up, M, convention, **OPTIONS, **hr)
        torch.testing.assert_close(refined.M, M)
        torch.testing.assert_close(refined.a, up.a, rtol=0, atol=1e-4)
        torch.testing.assert_close(refined.brightness, up.brightness, rtol=1e-3, atol=0)
        assert refined.history["objective"][0] < 1e-9


@pytest.mark.parametrize("guidance", [0.0, 0.1, 1.0])
def test_the_image_is_explained(guidance: float) -> None:
    r"""Tests that poor abundances come nearer to those that come down to the image.

    By the existence theorem, LR abundances are the mean of those of the image, with weight one,
    and those that it starts from, with s^2 times the guidance.
    """
    y, up, M = scene()
    poor = Level(y, (up.a + 1 / 3) / 2, up.brightness)
    options = OPTIONS | {"guidance": guidance, "mu": 1e-6}
    refined = refine(y, poor, M, "share", **options)

    a = unmix_pixels(y, M)[0]
    down, before = (
        degrade(level.a, 2, brightness=level.brightness[None]) for level in (refined, poor)
    )
    expected = 4 * guidance / (1 + 4 * guidance)
    assert armse(down, a) / armse(before, a) == pytest.approx(expected, abs=0.05)
    assert armse(refined.a, up.a) < armse(poor.a, up.a)

    # Monotone, and certified
    objective, gap = refined.history["objective"], refined.history["gap"]
    assert objective[-1] < objective[0]
    assert gap[-1] < (1e-8 * objective[-1] if guidance else 1e-7)  # without, it is hardly convex
    assert refined.gap.shape == (8, 8)
    assert refined.gap.min() >= 0
    assert refined.gap.max() < 1e-6

    # Near them it stays where the weight says so
    near = refine(y, poor, M, "share", **(options | {"mu": 1e9}))
    torch.testing.assert_close(near.a, poor.a, rtol=0, atol=1e-4)


def test_archetypes_move() -> None:
    y, up, _ = scene(snr=30)
    pixels, area = candidates(y)
    found = archetypes(pixels, 3, area=area, restarts=4, rounds=20)
    M = unit(found.M)
    a, brightness, _ = unmix_pixels(up.image, M)
    start = Level(y, a, brightness)
    moved = refine(y, start, M, "share", **OPTIONS, found=found)

    # A little, downhill, and no further than the cone of the pixels
    steps = moved.history["alternation"]
    assert len(steps) == OPTIONS["alternations"] + 1
    assert all(after < before for before, after in pairwise(steps))
    assert 0 < (moved.M - M).abs().max() < 0.05
    torch.testing.assert_close(moved.M.norm(dim=0), torch.ones(3))
    weights = torch.linalg.lstsq(pixels.double(), moved.M.double()).solution
    assert (pixels.double() @ weights - moved.M).abs().max() < 1e-5

    # From where the archetypes are, not from near there
    start_again = refine(y, start, M, "share", **(OPTIONS | {"alternations": 0}))
    assert steps[0] == pytest.approx(start_again.history["objective"][0], rel=1e-4)
    torch.testing.assert_close(start_again.M, M)


def test_without() -> None:
    r"""Tests that nothing moves without the last solve, and what there is left to gain is told."""
    y, up, _ = scene(snr=30)
    pixels, area = candidates(y)
    found = archetypes(pixels, 3, area=area, restarts=4, rounds=20)
    M = unit(found.M)
    start = Level(y, *unmix_pixels(up.image, M)[:2])
    left, moved = (
        refine(y, start, M, "share", **OPTIONS, found=found, without=part)
        for part in ("accessible solve", "")
    )

    torch.testing.assert_close(left.M, M)
    torch.testing.assert_close(left.a, start.a, rtol=0, atol=1e-5)
    torch.testing.assert_close(left.brightness, start.brightness)
    assert "alternation" not in left.history
    assert len(left.history["objective"]) == 1

    # Where the other begins, and too far from the optimum to be called solved
    assert left.history["objective"][0] == pytest.approx(moved.history["alternation"][0], rel=1e-4)
    assert left.gap.shape == (8, 8)
    assert left.gap.max() > 1e3 * moved.gap.max()


def test_dead_pixels() -> None:
    y, up, M = scene()
    y = y.clone()
    y[:, 2, 3] = 0.0
    refined = refine(y, up, M, "share", **OPTIONS)
    assert refined.a.isfinite().all()
    torch.testing.assert_close(refined.a[:, 4:6, 6:8], up.a[:, 4:6, 6:8], rtol=0, atol=1e-4)


def test_dark_noise() -> None:
    r"""Tests that a pixel with next to no light, divided by it, does not become the scene."""
    y, up, M = scene(snr=40)
    found = archetypes(candidates(y)[0], 3, restarts=4, rounds=20)
    expected = refine(y, up, M, "share", **OPTIONS, found=found)
    dark = y.clone()
    noise = torch.randn(len(y))
    dark[:, 2, 3] = 0.02 * (noise - noise.mean()) + 1e-7
    found = archetypes(candidates(dark)[0], 3, restarts=4, rounds=20)
    refined = refine(dark, up, M, "share", **OPTIONS, found=found)
    torch.testing.assert_close(refined.M, expected.M, rtol=0, atol=0.01)
    torch.testing.assert_close(refined.a, expected.a, rtol=0, atol=0.05)
    assert refined.gap.max() < 1e-6


def test_hidden_is_not_looked_at() -> None:
    y, up, M = scene()
    shown = torch.zeros(16, 16).bool()
    shown[:8] = True
    hr, other = up.image * shown, torch.where(shown, up.image, 7.0)
    poor = Level(y, (up.a + 1 / 3) / 2, up.brightness)
    one, two = (refine(y, poor, M, "share", **OPTIONS, hr=x, shown=shown) for x in (hr, other))
    assert torch.equal(one.a, two.a)

    # What is shown is believed
    assert armse(one.a[:, shown], up.a[:, shown]) < armse(one.a[:, ~shown], up.a[:, ~shown])
