r"""Tests for the smile_core.endmembers module."""

import itertools
import math
import pytest
import torch

from torch import Tensor

from smile_core import endmembers, scenes
from smile_core.archetypes import archetypes, candidates
from smile_core.degradation import degrade
from smile_core.endmembers import Endmembers, decide, find_endmembers
from smile_core.metrics import armse, match
from smile_core.mixing import unit, unmix_pixels
from smile_core.scenes import Scene
from smile_core.studies.variability import vary

FEW = {"restarts": 6, "rounds": 40}


def make(R: int = 3, brightness: str = "smooth", purity: float = 1.0, **options: object) -> Scene:
    r"""Makes a scene of 32 x 32 pixels at 30 dB."""
    return scenes.synthetic(32, R, brightness=brightness, purity=purity, snr=30, **options)


def varying(brightness: str = "rough") -> Tensor:
    r"""Makes an image with materials that vary too much for corners."""
    return vary(scenes.synthetic(32, 3, brightness=brightness, snr=math.inf), 0.1, 30)


def error(found: Tensor, M: Tensor) -> float:
    return float(match(found, M)[1].mean())


def assert_same(one: Endmembers, other: Endmembers) -> None:
    assert torch.equal(one.M, other.M)
    assert one.convention == other.convention
    assert one.history == other.history


@pytest.mark.parametrize("purity", [1.0, 0.75])
@pytest.mark.parametrize("brightness", ["off", "smooth", "rough"])
@pytest.mark.parametrize("R", [3, 4, 5])
def test_linear_mixtures(R: int, brightness: str, purity: float) -> None:
    r"""Tests that the kind of brightness is told, and corners are found."""
    scene = make(R, brightness, purity)
    found = find_endmembers(scene.image, R)
    assert found.convention == ("plain" if brightness == "off" else "share")
    assert found.found is None
    assert found.M.shape == (180, R)
    assert (found.M >= 0).all()
    assert error(found.M, scene.M) < 0.035

    # At the norms of the truth, up to a brightness between 0.5 and 1
    order = match(found.M, scene.M)[0]
    ratio = found.M[:, order].norm(dim=0) / scene.M.norm(dim=0)
    if brightness == "off":
        torch.testing.assert_close(ratio, torch.ones(R), rtol=0.1, atol=0)
    else:
        assert 0.5 < ratio.min() <= ratio.max() < 1.1

    # The true ones lead to the same decision
    assert decide(scene.image, scene.M) == found.convention


@pytest.mark.parametrize("brightness", ["off", "smooth"])
@pytest.mark.parametrize("R", [3, 4])
def test_beyond_the_pixels(R: int, brightness: str) -> None:
    r"""Tests, without pure pixels, that corners are nearer than what lies within the pixels."""
    scene = make(R, brightness, purity=0.75)
    within = archetypes(scene.image.flatten(1), R, normalised=brightness != "off", **FEW)
    assert error(within.M, scene.M) > 0.05
    assert error(find_endmembers(scene.image, R).M, scene.M) < error(within.M, scene.M) / 3


@pytest.mark.parametrize("R", [3, 4, 5])
def test_shadow(R: int) -> None:
    r"""Tests that the brightness is kept where it is what tells a material."""
    scene = make(R, "off", shadow=True)
    found = find_endmembers(scene.image, R)
    assert found.convention == decide(scene.image, scene.M) == "plain"
    assert error(found.M, scene.M) < 0.05
    order = match(found.M, scene.M)[0]
    assert order[-1] == found.M.norm(dim=0).argmin()

    # Abundances are far nearer than those of mixtures in any light
    a = unmix_pixels(scene.image, found.M, "plain")[0][order]
    free = find_endmembers(scene.image, R, "area", **FEW).M
    a_free = unmix_pixels(scene.image, free, "area")[0][match(free, scene.M)[0]]
    assert armse(a, scene.a) < armse(a_free, scene.a) / 2


def test_materials_that_vary() -> None:
    r"""Tests that archetypes are taken, and the convention by what fits as well."""
    image = varying()
    found = find_endmembers(image, 3, **FEW)
    assert found.history["evidence.structure"][0] > 4
    assert found.convention == "share"
    assert found.history["evidence.ratio"][0] > endmembers.WORSE
    assert len(found.history["misfit"]) == FEW["restarts"]
    assert torch.equal(found.M, found.found.M)

    # Those of the pixels, as they were given
    pixels, area = candidates(image)
    expected = archetypes(pixels, 3, area=area, **FEW)
    torch.testing.assert_close(found.M, expected.M)
    assert torch.equal(found.found.pixels, pixels)
    assert found.found.W.shape == (pixels.shape[1], 3)

    # Without a brightness that varies
    still = varying("off")
    found = find_endmembers(still, 3, **FEW)
    assert found.convention == "plain"
    assert found.history["evidence.ratio"][0] <= endmembers.WORSE
    expected = archetypes(candidates(still)[0], 3, normalised=False, **FEW)
    torch.testing.assert_close(found.M, expected.M)


@pytest.mark.parametrize("convention", ["share", "area"])
@pytest.mark.parametrize("corners", [False, True])
def test_convention_that_is_given(convention: str, corners: bool) -> None:
    r"""Tests that it is followed where the data speak for the other one."""
    kinds = ("off", "rough")
    off, rough = (make(3, k, 0.8).image if corners else varying(k) for k in kinds)
    found = find_endmembers(off, 3, convention, **FEW)
    assert (found.convention, found.found is None) == ("share", corners)
    assert "evidence.ratio" not in found.history

    found = find_endmembers(rough, 3, "plain", **FEW)
    assert found.convention == "plain"
    assert "evidence.ratio" not in found.history


def test_plain_and_share_differ() -> None:
    r"""Tests what a convention is for: mixtures in any light lie in other simplices."""
    scene = make(3, "rough")
    share, plain = (find_endmembers(scene.image, 3, c, **FEW).M for c in ("share", "plain"))
    assert error(share, scene.M) < error(plain, scene.M) / 2


@pytest.mark.parametrize("brightness", ["off", "rough"])
def test_decide_in_another_unit(brightness: str) -> None:
    r"""Tests that endmembers too dark for their pixels leave the brightness free."""
    scene = make(4, brightness)
    expected = "plain" if brightness == "off" else "share"
    for factor in (1e-3, 1.0, 1e3):
        assert decide(factor * scene.image, factor * scene.M) == expected
    for factor in (0.5, 1 / scene.M.norm(dim=0)):
        assert decide(scene.image, factor * scene.M) == "share"

    # Nor does it take other than a few bands or pixels
    assert decide(scene.image[::60, :2, :2], scene.M[::60]) in ("share", "plain")


def test_decide_where_materials_vary() -> None:
    for brightness, expected in (("off", "plain"), ("rough", "share")):
        scene = scenes.synthetic(32, 3, brightness=brightness, snr=math.inf)
        assert decide(vary(scene, 0.03, 30), scene.M) == expected


def test_hr() -> None:
    r"""Tests that an HR image is looked at where it is shown, and nowhere else."""
    scene = scenes.synthetic(64, 3, snr=30, smoothness=2.0)
    image, hr = degrade(scene.image, 2), scene.image
    mask = torch.zeros(64, 64).bool()
    mask[:, :32] = True
    alone = find_endmembers(image, 3)
    part = find_endmembers(image, 3, hr=hr, hr_mask=mask)
    every = find_endmembers(image, 3, hr=hr)
    counts = [f.history["evidence.pixels"][0] for f in (alone, part, every)]
    assert counts == [1024 / 3, (2048 + 512) / 3, 4096 / 3]

    garbage = torch.where(mask, hr, 1e6)
    assert_same(find_endmembers(image, 3, hr=garbage, hr_mask=mask), part)
    assert_same(find_endmembers(torch.zeros_like(image), 3, hr=hr), every)
    for found in (alone, part, every):
        assert found.convention == "share"
        assert error(found.M, scene.M) < 0.05


@pytest.mark.parametrize("corners", [False, True])
def test_seed(corners: bool) -> None:
    image = make().image if corners else varying()
    state = torch.get_rng_state()
    first, again, other = (find_endmembers(image, 3, seed=seed, **FEW) for seed in (4, 4, 5))
    assert_same(first, again)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.M, other.M)
    assert error(other.M, first.M) < 0.05


def test_options() -> None:
    r"""Tests that they reach the archetypes, and that the audition is not reported."""
    calls = []
    image = varying()
    found = find_endmembers(image, 3, progress=lambda *c: calls.append(c), **FEW)
    assert calls == [("archetypes", k, 40) for k in range(1, 41)]
    best = find_endmembers(image, 3, tolerance=0.0, **FEW).found
    assert best.chosen == found.found.misfit.argmin()


@pytest.mark.parametrize("convention", ["auto", "share", "plain"])
@pytest.mark.parametrize(
    ("shape", "R"),
    [((1, 3, 3), 1), ((5, 1, 1), 1), ((5, 2, 2), 4), ((3, 8, 8), 3), ((4, 9, 9), 2)],
)
def test_sizes(shape: tuple[int, int, int], R: int, convention: str) -> None:
    found = find_endmembers(0.1 + torch.rand(shape), R, convention, **FEW)
    assert found.M.shape == (shape[0], R)
    assert found.M.isfinite().all()
    assert (found.M.sum(dim=0) > 0).all()


@pytest.mark.parametrize("convention", ["auto", "share", "plain"])
def test_degenerate_images(convention: str) -> None:
    r"""Tests images with fewer materials than are asked for, with noise or without."""
    spectra = 0.1 + torch.rand(12, 2, 1, 1)
    light = 0.5 + torch.rand(16, 16)
    images = [spectra[:, 0].expand(12, 16, 16), light * spectra[:, 0]]
    images.append(torch.where(torch.rand(16, 16) > 0.5, spectra[:, 0], spectra[:, 1]))
    for image, R in itertools.product(images, (1, 2, 3, 6)):
        found = find_endmembers(image, R, convention, **FEW)
        assert found.M.isfinite().all()
        assert (found.M.sum(dim=0) > 0).all()
        cosine = unit(found.M).mT @ unit(spectra[:, :, 0, 0])
        assert cosine.amax(dim=1).min() > 0.99
