r"""Tests for the smile_core.archetypes module."""

import math
import pytest
import torch

from scipy.optimize import nnls
from torch import Tensor

import smile_core.archetypes as module

from smile_core import scenes
from smile_core.archetypes import archetypes, candidates
from smile_core.metrics import match

SMALL = {"restarts": 6, "rounds": 40}


def make_image(rows: int, cols: int, B: int = 5) -> Tensor:
    return 0.1 + torch.rand(B, rows, cols)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pure_pixels(seed: int) -> None:
    r"""Tests exact recovery where it can be had: all pixels pure, in any light."""
    M = scenes.synthetic(size=8, endmembers=4, seed=seed).M
    drawn, rho = torch.randint(4, (150,)), 0.2 + torch.rand(150)
    found = archetypes(M[:, drawn] * rho, 4, restarts=12, rounds=200, seed=seed)

    _, sad = match(found.M, M)
    assert sad.max() < 1e-3


@pytest.mark.parametrize("brightness", ["off", "smooth", "rough"])
def test_mixtures(brightness: str) -> None:
    r"""Tests recovery from mixtures, which division by the norm moves out of their simplex."""
    scene = scenes.synthetic(
        size=16, endmembers=3, snr=math.inf, brightness=brightness, smoothness=2, seed=1
    )
    pixels = scene.image.flatten(1)
    found = archetypes(pixels, 3, restarts=12, rounds=100)

    permutation, sad = match(found.M, scene.M)
    assert sad.max() < 0.02

    # Far nearer than pixels drawn at random
    _, drawn = match(pixels[:, torch.randperm(256)[:3]], scene.M)
    assert sad.max() < drawn.max() / 5

    # Physical norms: in constant light, those of the truth
    norms = found.M[:, permutation].norm(dim=0)
    assert norms.max() <= pixels.norm(dim=0).max()
    if brightness == "off":
        torch.testing.assert_close(norms, scene.M.norm(dim=0), rtol=0.03, atol=0)


def test_mixtures_of_pixels() -> None:
    pixels = make_image(8, 8).flatten(1)
    found = archetypes(pixels, 3, **SMALL)

    # In the cone of the pixels, by another library
    assert (found.M >= 0).all()
    for m in found.M.T.double():
        assert nnls(pixels.double().numpy(), m.numpy())[1] < 1e-5 * m.norm()

    # In the unit of the pixels
    scaled = archetypes(1024 * pixels, 3, **SMALL)
    assert torch.equal(scaled.M, 1024 * found.M)


def test_choice() -> None:
    scene = scenes.synthetic(size=12, endmembers=3, seed=2)
    pixels = scene.image.flatten(1)
    found = archetypes(pixels, 3, **SMALL)
    assert found.misfit.shape == found.volume.shape == (6,)

    # The largest volume among those that fit within 3 % of the best
    fit = [k for k in range(6) if found.misfit[k] <= 1.03 * found.misfit.min()]
    assert found.chosen == max(fit, key=lambda k: found.volume[k])

    # The volume is that of the endmembers that are returned, which the subspace holds
    unit = found.M.double() / found.M.double().norm(dim=0)
    volume = torch.linalg.det(unit.T @ unit)
    torch.testing.assert_close(volume, found.volume[found.chosen], rtol=0.05, atol=0)

    # All that fit, and the best fit alone
    widest = archetypes(pixels, 3, tolerance=math.inf, **SMALL)
    assert widest.chosen == widest.volume.argmax()
    assert archetypes(pixels, 3, tolerance=0, **SMALL).chosen == found.misfit.argmin()


def test_seed() -> None:
    pixels = make_image(6, 6).flatten(1)
    state = torch.get_rng_state()
    first, again = (archetypes(pixels, 3, **SMALL, seed=4) for _ in range(2))
    other = archetypes(pixels, 3, **SMALL, seed=5)

    for value, value_ in zip(first[:3], again[:3], strict=True):
        assert torch.equal(value, value_)
    assert not torch.equal(first.M, other.M)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("B", "N", "R"), [(1, 9, 1), (4, 4, 4), (20, 30, 1), (20, 30, 14)])
def test_sizes(B: int, N: int, R: int) -> None:
    found = archetypes(0.1 + torch.rand(B, N), R, **SMALL)

    assert found.M.shape == (B, R)
    assert found.M.isfinite().all()
    assert (found.M.norm(dim=0) > 0).all()
    assert (found.volume > -1e-6).all()


def test_too_few_pixels() -> None:
    with pytest.raises(ValueError, match=r"pixels should be at least .* endmembers, 3, got 2"):
        archetypes(torch.rand(5, 2), 3)


def test_progress() -> None:
    calls = []
    archetypes(torch.rand(5, 9), 2, restarts=2, rounds=3, progress=lambda *c: calls.append(c))

    assert calls == [("archetypes", k, 3) for k in (1, 2, 3)]


def test_candidates() -> None:
    image, hr = make_image(4, 5), make_image(8, 10)
    image[:, 1, 2], image[:, 3, 3] = 0, -0.1
    mask = torch.zeros(8, 10).bool()
    mask[:, :5] = True
    alive = image.sum(dim=0) > 0

    # The image, but for its dead pixels
    pixels, area = candidates(image)
    assert torch.equal(pixels, image[:, alive])
    assert torch.equal(area, torch.ones(18))

    # The HR image
    pixels, area = candidates(image, hr=hr)
    assert torch.equal(pixels, hr.flatten(1))
    assert torch.equal(area, torch.ones(80))

    # The HR image where it is shown, elsewhere the image, whose pixels have four times the area;
    # those that mix what is shown with what is hidden are left out
    elsewhere = alive.clone()
    elsewhere[:, :3] = False
    expected = torch.cat([hr[:, mask], image[:, elsewhere]], dim=1)
    pixels, area = candidates(image, hr=hr, hr_mask=mask)
    assert torch.equal(pixels, expected)
    assert torch.equal(area, torch.cat([torch.ones(40), torch.full((7,), 4.0)]))

    # What is hidden has no influence
    hr[:, ~mask] = 1e6
    assert torch.equal(candidates(image, hr=hr, hr_mask=mask)[0], expected)


def test_candidates_beside_dead_pixels() -> None:
    r"""Tests that no half-dead mixtures are among those of a large image brought down."""
    image = make_image(100, 102)
    image = 0.5 + image / image.max()
    edge = torch.zeros(100, 102).bool()
    edge[:, :31], edge[::2] = True, True
    image[:, edge] = 0
    pixels, area = candidates(image)
    assert pixels.shape[1] == 50 * 36
    assert pixels.sum(dim=0).min() > image.sum(dim=0)[~edge].min() - 1e-4
    # In pixels that live
    assert set(area.tolist()) == {1.0, 2.0}
    assert area.sum() == (~edge).sum()


def test_many_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    # Large images are brought down by two: block means, with the last row and column repeated
    image = make_image(5, 7)
    padded = torch.cat([image, image[:, -1:]], dim=1)
    padded = torch.cat([padded, padded[:, :, -1:]], dim=2)
    means = padded.reshape(5, 3, 2, 4, 2).mean(dim=(2, 4)).flatten(1)
    monkeypatch.setattr(module, "COARSE_PIXELS", 8)
    pixels, area = candidates(image)
    torch.testing.assert_close(pixels, means)
    assert torch.equal(area, torch.full((12,), 4.0))

    # If too many are left, some of them are drawn
    monkeypatch.setattr(module, "MOST_PIXELS", 10)
    sample, area = candidates(image, seed=1)
    assert sample.shape == (5, 10)
    assert len(area) == 10
    where = (sample[:, :, None] == pixels[:, None, :]).all(dim=0)
    assert torch.equal(where.sum(dim=1), torch.ones(10).long())
    assert where.any(dim=0).sum() == 10

    # The same with the same seed
    assert torch.equal(candidates(image, seed=1)[0], sample)
    assert not torch.equal(candidates(image, seed=2)[0], sample)
