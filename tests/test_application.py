r"""Tests for the smile_core.application module."""

import numpy as np
import pytest
import torch

from dataclasses import replace

from smile_core import Settings, scenes, unmix
from smile_core.application import apply

QUICK = Settings(restarts=4, rounds=15, steps=20)


@pytest.fixture(scope="module")
def guided():
    r"""A scene with a shifting brightness, and what was learned of it."""
    scene = scenes.synthetic(32, 3, seed=2, brightness="smooth", snr=30)
    return scene.image, unmix(scene.image, 3, settings=QUICK, convention="share")


@pytest.mark.parametrize("convention", ["share", "area", "plain"])
@pytest.mark.parametrize("mode", ["single", "self"])
def test_same_image(convention: str, mode: str) -> None:
    r"""Tests that an image gives what `unmix` gave of it, in its unit."""
    image = 1e3 * scenes.synthetic(24, 3, seed=2, brightness="smooth").image
    learned = unmix(image, 3, mode=mode, convention=convention, settings=QUICK)
    assert learned.guided == (mode == "self")
    again = apply(learned, image)
    for name in ("M", "a", "a_hr", "brightness", "brightness_hr", "x_hr"):
        ours, theirs = getattr(again, name), getattr(learned, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))
    assert float(again.gap.max()) <= 1e-4
    assert again.convention == convention and again.history == learned.history


@pytest.mark.parametrize("unit", [1e-35, 1e25])
def test_units(unit: float) -> None:
    r"""Tests that the unit of the image changes the endmembers, and nothing else."""
    image = scenes.synthetic(12, 3, seed=2, brightness="smooth").image
    options = {"mode": "single", "convention": "area", "settings": QUICK}
    learned = unmix(unit * image, 3, **options)
    again, usual = apply(learned, unit * image), unmix(image, 3, **options)
    torch.testing.assert_close(again.a_hr, usual.a_hr, rtol=0, atol=1e-3)
    torch.testing.assert_close(again.brightness_hr, usual.brightness_hr, rtol=1e-3, atol=0)

    # A shadow is one, but light cannot be so much more
    assert float(apply(learned, 1e-13 * unit * image).brightness.max()) <= 1e-12
    if unit < 1:
        with pytest.raises(ValueError, match="image should be in the unit of the one that was"):
            apply(learned, 1e4 * image)


def test_endmembers_move_in_the_last_solve(guided: tuple) -> None:
    r"""Tests that this is told: without it, the application would be another one."""
    _, learned = guided
    assert 0 < float((learned.M - learned.M_first).norm(dim=0).max()) < 0.2


def test_supervised() -> None:
    r"""Tests that a network that has seen an HR image needs none to be applied."""
    scene = scenes.synthetic(32, 3, seed=3, brightness="smooth")
    y = torch.nn.functional.avg_pool2d(scene.image, 2)
    learned = unmix(y, 3, mode="supervised", hr=scene.image, settings=QUICK)
    again = apply(learned, y)
    assert torch.equal(again.M, learned.M)
    # The HR image is not there: near, and not the same
    difference = (again.a_hr - learned.a_hr).square().mean().sqrt()
    assert 1e-4 < float(difference) < 0.2


def test_tiles_agree_with_the_whole(guided: tuple) -> None:
    r"""Tests a tile, away from its border, against the whole."""
    image, learned = guided
    generator = torch.Generator().manual_seed(0)
    # A network that corrects a lot
    network = {
        name: w + 0.1 * torch.randn(w.shape, generator=generator)
        for name, w in learned.network.items()
    }
    learned = replace(learned, network=network, history={"share": [1.0]})
    whole = apply(learned, image).a[..., 0:8, 28:32]
    tile = (..., slice(0, 24), slice(8, 32))
    part = apply(learned, image[tile], tile=True)
    inner = (..., slice(0, 8), slice(20, 24))  # of the tile; 12 pixels from where it ends
    torch.testing.assert_close(part.a[inner], whole, rtol=0, atol=1e-4)


def test_brighter_image(guided: tuple) -> None:
    r"""Tests that, with a free brightness, the same mixtures in more light stay the same."""
    image, learned = guided
    brighter = apply(learned, 7 * image)
    torch.testing.assert_close(brighter.a_hr, learned.a_hr, rtol=0, atol=1e-5)
    torch.testing.assert_close(brighter.brightness, 7 * learned.brightness, rtol=1e-4, atol=0)


def test_other_scene() -> None:
    r"""Tests, where the truth is known, that endmembers of one scene unmix another."""
    first, second = (scenes.synthetic(24, 3, seed=4, snr=40, brightness="off") for _ in range(2))
    rng = np.random.default_rng(0)
    a = torch.from_numpy(rng.dirichlet(np.ones(3), (16, 16)).transpose(2, 0, 1)).float()
    learned = unmix(first.image, first.M, mode="single", convention="plain")
    result = apply(learned, torch.einsum("br,rhw->bhw", second.M, a))
    torch.testing.assert_close(result.a, a, rtol=0, atol=1e-3)


def test_generator_is_left_alone(guided: tuple) -> None:
    r"""Tests that what the caller draws next does not depend on it."""
    image, learned = guided
    assert learned.network
    state = torch.get_rng_state()
    apply(learned, image, tile=True)
    unmix(image, 3, start=learned, settings=QUICK)
    assert torch.equal(torch.get_rng_state(), state)


def test_dead_pixels(guided: tuple) -> None:
    r"""Tests that dead pixels get equal abundances and no brightness, at both resolutions."""
    image, learned = guided
    image = image.clone()
    image[:, 3, 4] = 0
    result = apply(learned, image)
    assert result.dead.nonzero().tolist() == [[3, 4]]
    assert torch.equal(result.a[:, 3, 4], torch.full((3,), 1 / 3))
    assert not result.brightness_hr[6:8, 8:10].any()


@pytest.mark.parametrize("light", [0.0, -0.1])
def test_nothing_but_dead_pixels(guided: tuple, light: float) -> None:
    r"""Tests a tile beyond the border of a scene."""
    image, learned = guided
    result = apply(learned, light * image, tile=True)
    assert result.dead.all()
    assert torch.equal(result.a_hr, torch.full((3, 64, 64), 1 / 3))
    assert not result.brightness_hr.any() and not result.gap.any()
    with pytest.raises(ValueError, match="image has no pixel"):
        apply(learned, image[:, :0])


def test_bad_input(guided: tuple) -> None:
    r"""Tests that another number of bands, and what is not finite, are named."""
    image, learned = guided
    with pytest.raises(ValueError, match=r"shape \(179, R\)"):
        apply(learned, image[:-1])
    with pytest.raises(ValueError, match="image should be finite"):
        apply(learned, image / 0)


def test_tile_with_attention(guided: tuple) -> None:
    r"""Tests that a network that sums over the whole image is refused for a part of it."""
    image, _ = guided
    settings = replace(QUICK, attention=True)
    learned = unmix(image, 3, mode="self", settings=settings)
    assert learned.network
    apply(learned, image)
    with pytest.raises(ValueError, match="should be without attention"):
        apply(learned, image, tile=True)
