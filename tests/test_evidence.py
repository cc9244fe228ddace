r"""Tests for the smile_core.evidence module."""

import math
import pytest
import torch

from torch import Tensor

from smile_core import scenes
from smile_core.evidence import STRUCTURE, Evidence, ordinary, weigh
from smile_core.studies.variability import vary


def pixels_of(R: int, brightness: str, purity: float = 1.0) -> Tensor:
    return scenes.synthetic(24, R, brightness=brightness, purity=purity, snr=30).image.flatten(1)


@pytest.mark.parametrize(("B", "N"), [(40, 4000), (180, 1000), (180, 200)])
def test_noise(B: int, N: int) -> None:
    r"""Tests that white noise around a spectrum reaches the edge of Marchenko and Pastur.

    Its largest eigenvalue is the edge, up to a fluctuation of order :math:`N^{-2/3}`.
    """
    draws = [weigh(10 + torch.randn(B, N), 3) for _ in range(8)]
    structure = torch.tensor([evidence.structure for evidence in draws])
    assert (structure.mean() - 1).abs() < 0.1
    assert structure.max() < 1.1

    # Without its mean there is nothing but noise, and no simplex
    for evidence in draws:
        assert 1 <= evidence.rank < 1.15
        assert 1 <= evidence.thickness < 1.15
        assert evidence.linear
        assert evidence.fixed is None
        assert not evidence.enclosable


@pytest.mark.parametrize("R", [3, 5])
@pytest.mark.parametrize("purity", [1.0, 0.75])
def test_brightness(R: int, purity: float) -> None:
    off = weigh(pixels_of(R, "off", purity), R)
    assert off.offset == pytest.approx(0, abs=0.02)
    for kind in ("smooth", "rough"):
        varying = weigh(pixels_of(R, kind, purity), R)
        assert 0.2 < varying.offset <= 1
        assert varying.rank > 10
        assert varying.linear
        assert varying.fixed is False
        assert varying.enclosable
    assert (off.linear, off.fixed, off.enclosable) == (True, True, True)
    assert off.pixels == 576 / R


def test_defects() -> None:
    r"""Tests that hot values are told from materials, however rare, and that little else is."""
    for brightness in ("off", "smooth"):
        pixels = pixels_of(3, brightness)
        assert ordinary(pixels, 3).all()

        # Some of these are found when larger ones are gone
        hot, bad = pixels.clone(), [5, 70, 200, 500]
        for k, pixel in enumerate(bad):
            hot[10 * k, pixel] += 2.0**k
        kept = ordinary(hot, 3)
        assert (~kept).nonzero().flatten().tolist() == bad
        assert weigh(hot, 3).structure > 4 > weigh(hot[:, kept], 3).structure

        # A fourth material in four pixels
        rare = pixels.clone()
        rare[:, 100:104] = scenes.synthetic(8, 6, seed=3).M[:, 5:]
        assert ordinary(rare, 4).all()

    # With nothing to compare with
    assert ordinary(torch.rand(4, 9), 3).all()


def test_one_endmember_too_few() -> None:
    r"""Tests that an endmember that is left out is structure."""
    pixels = pixels_of(4, "smooth")
    assert weigh(pixels, 3).structure > 10
    assert weigh(pixels, 4).structure < 1.1


def test_variability() -> None:
    r"""Tests that materials that vary are structure, more the more they vary."""
    scene = scenes.synthetic(24, 3, snr=math.inf)
    structures = [
        weigh(vary(scene, variability, 30).flatten(1), 3).structure
        for variability in (0.0, 0.05, 0.2)
    ]
    assert structures[0] < 1.1 < STRUCTURE < structures[1] < structures[2]


def test_unit_and_order() -> None:
    r"""Tests that ratios of eigenvalues know neither the unit nor the order of anything."""
    pixels = pixels_of(3, "smooth").double()
    expected = weigh(pixels, 3)
    turned = pixels[torch.randperm(180)][:, torch.randperm(576)]
    for other in (1e-6 * pixels, 1e6 * pixels, turned):
        assert weigh(other, 3) == pytest.approx(expected, rel=1e-6)


def test_by_singular_values() -> None:
    r"""Tests that ratios are those of the squared singular values, of what is asked for."""
    R, pixels = 3, pixels_of(3, "smooth").double()

    def spread(y: Tensor) -> Tensor:
        return torch.linalg.svdvals(y - y.mean(dim=1, keepdim=True)).square()

    free, fixed = weigh(pixels, R, fixed=False), weigh(pixels, R, fixed=True)
    as_they_are, divided = spread(pixels), spread(pixels / pixels.sum(dim=0))
    last, *left = torch.linalg.svdvals(pixels).square()[R - 1 :]
    left = torch.stack(left)
    for evidence in (free, fixed):
        assert evidence.rank == pytest.approx(float(last / left[0]), rel=1e-6)
        offset = (as_they_are[R - 1] - left[0]) / (last - left[0])
        assert evidence.offset == pytest.approx(float(offset), rel=1e-6)
        edge = (1 + math.sqrt(180 / 576)) ** 2
        expected = float(left[0] / left.mean()) / edge
        assert evidence.structure == pytest.approx(expected, rel=1e-6)

    # Pixels are divided by their brightness unless it is fixed, or found to be
    assert fixed.thickness == pytest.approx(float(as_they_are[1] / as_they_are[2]), rel=1e-6)
    assert free.thickness == pytest.approx(float(divided[1] / divided[2]), rel=1e-6)
    assert weigh(pixels, R) == free
    still = pixels_of(R, "off")
    assert weigh(still, R) == weigh(still, R, fixed=True) != weigh(still, R, fixed=False)


def test_dark_pixels() -> None:
    r"""Tests that a pixel with next to no light does not pass for an extent of the simplex."""
    pixels = pixels_of(3, "smooth")
    before = weigh(pixels, 3, fixed=False)
    noise = 1e-3 * torch.randn(180, 1)
    dark = noise - noise.mean() + 1e-8
    after = weigh(torch.cat([pixels, dark], dim=1), 3, fixed=False)
    assert after.thickness == pytest.approx(before.thickness, rel=1e-6)


@pytest.mark.parametrize(
    ("pixels", "R"),
    [
        (0.1 + torch.rand(20, 50), 1),
        (0.1 + torch.rand(20, 3), 3),
        (0.1 + torch.rand(3, 50), 3),
        (0.1 + torch.rand(4, 50), 3),
    ],
    ids=["one endmember", "three pixels", "three bands", "four bands"],
)
def test_no_evidence(pixels: Tensor, R: int) -> None:
    r"""Tests that without a direction to spare, nothing is decided on eigenvalues."""
    evidence = weigh(pixels, R)
    assert evidence == Evidence(math.inf, 1.0, math.inf, 0.0, pixels.shape[1] / R)
    assert not evidence.linear
    assert not evidence.enclosable


@pytest.mark.parametrize("fixed", [None, True, False])
def test_degenerate_pixels(fixed: bool | None) -> None:
    r"""Tests that pixels that are all alike have no corners to extrapolate."""
    spectrum = 0.1 + torch.rand(20, 1)
    for pixels in (spectrum.expand(20, 200), spectrum * (0.5 + torch.rand(200))):
        evidence = weigh(pixels, 3, fixed)
        assert all(value == value for value in evidence)
        assert not evidence.enclosable
    assert weigh(spectrum.expand(20, 200), 3).fixed is None
