r"""Tests for the smile_core.enclosing module."""

import itertools
import math
import pytest
import torch

from torch import Tensor
from torch.distributions import Dirichlet

import smile_core.enclosing as module

from smile_core import scenes
from smile_core.enclosing import enclose, norms_of, vertices


def distance(V: Tensor, M: Tensor) -> float:
    r"""Returns how far the furthest corner is, in the best order."""
    orders = itertools.permutations(range(M.shape[1]))
    return min(float((V[:, list(order)] - M).norm(dim=0).max()) for order in orders)


def mixtures(R: int, N: int, purity: float = 1.0, concentration: float = 1.0) -> Tensor:
    r"""Draws abundances, none of them larger than the purity."""
    a = Dirichlet(torch.full((R,), concentration, dtype=torch.float64)).sample((20 * N,)).mT
    return a[:, a.amax(dim=0) <= purity][:, :N]


@pytest.mark.parametrize("R", [3, 4, 5])
def test_no_pure_pixels(R: int) -> None:
    r"""Tests that the corners of a regular simplex are found, though cut off in the pixels."""
    M, a = torch.eye(R, dtype=torch.float64), mixtures(R, 2000, purity=0.75)
    nearest = min(float((a - m[:, None]).norm(dim=0).min()) for m in M)
    assert nearest > 0.25
    assert distance(enclose(a, R), M) < 0.01

    # At any angles
    M = 0.2 + torch.rand(8, R, dtype=torch.float64)
    assert distance(enclose(M @ a, R), M) < 0.02


@pytest.mark.parametrize("noise", [0.001, 0.01, 0.05])
def test_line(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests, on a segment of length one, where volume and what is outside are balanced.

    With :math:`d = 1 - 2 e` the distance of the corners, the volume is :math:`\frac{1}{2} \log (1
    + d^2 / 12 \tau^2)`; outside is :math:`\int_0^e (t / \tau)^2 \, dt` for both ends together.
    """
    monkeypatch.setattr(module, "WEIGHTS", [1.0])
    monkeypatch.setattr(module, "NEARLY", -1.0)  # what is found first
    x = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    around = noise * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(10_001)[: len(x)]
    pixels = torch.stack([2 + 0.6 * x, 3 - 0.8 * x, 1 + around])
    V = enclose(pixels, 2)

    # Where the derivative vanishes: e^2 = 2 tau^2 d / (d^2 + 12 tau^2)
    e = math.sqrt(2) * noise
    for _ in range(50):
        d = 1 - 2 * e
        e = math.sqrt(2 * d / (d**2 + 12 * noise**2)) * noise
    low, high = (torch.tensor([2 + 0.6 * t, 3 - 0.8 * t, 1]).double() for t in (e, 1 - e))
    assert distance(V, torch.stack([low, high], dim=1)) < 0.02 * e + 5e-5  # the spacing


def test_equivariance() -> None:
    r"""Tests that corners follow the pixels when these are turned, moved, scaled or shuffled."""
    M = 0.2 + torch.rand(6, 4, dtype=torch.float64)
    pixels = M @ mixtures(4, 1000, purity=0.8)
    pixels = pixels + 0.002 * torch.randn_like(pixels)
    V = enclose(pixels, 4)

    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    move = torch.randn(6, 1, dtype=torch.float64)
    assert distance(enclose(turn @ pixels + move, 4), turn @ V + move) < 1e-4
    assert torch.equal(enclose(1024 * pixels, 4), 1024 * V)
    for unit in (1e-6, 1e6):
        assert distance(enclose(unit * pixels, 4) / unit, V) < 1e-4
    shuffled = pixels[:, torch.randperm(pixels.shape[1])]
    assert distance(enclose(shuffled, 4), V) < 1e-4

    # The same seed, the same corners, and no other number is drawn
    state = torch.get_rng_state()
    assert torch.equal(enclose(pixels, 4), V)
    assert torch.equal(torch.get_rng_state(), state)


def test_few_pure_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that 25 pure pixels of each material count, among 5000 that are much alike."""
    M = 0.2 + torch.rand(20, 4, dtype=torch.float64)
    pure = torch.eye(4, dtype=torch.float64).repeat_interleave(25, dim=1)
    pixels = M @ torch.cat([mixtures(4, 5000, concentration=30.0), pure], dim=1)
    pixels = pixels + 0.03 * torch.randn_like(pixels)
    assert distance(enclose(pixels, 4), M) < 0.25

    # The likelihood alone cuts them off
    monkeypatch.setattr(module, "WEIGHTS", [1.0])
    monkeypatch.setattr(module, "NEARLY", -1.0)  # what is found first
    assert distance(enclose(pixels, 4), M) > 0.75


def test_few_on_the_facets(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that the weight rises for a few that are cut off, and not on for noise alone."""
    M = torch.eye(4, dtype=torch.float64)
    inside = 0.05 + 0.8 * mixtures(4, 6000)
    pure = torch.eye(4, dtype=torch.float64).repeat_interleave(20, dim=1)
    pixels = torch.cat([inside, pure], dim=1)
    noisy = torch.cat([pixels, torch.zeros(6, pixels.shape[1])]).double()
    noisy = noisy + 0.02 * torch.randn_like(noisy)
    assert distance(enclose(noisy, 4)[:4], M) < 0.05
    with monkeypatch.context() as at_first:
        at_first.setattr(module, "WEIGHTS", [1.0])
        assert distance(enclose(noisy, 4)[:4], M) > 0.1

    # What is outside by noise alone adds no volume, as it would at the largest weight
    pixels = torch.cat([mixtures(4, 6000), torch.zeros(6, 6000)])
    noisy = pixels + 0.03 * torch.randn_like(pixels)
    assert distance(enclose(noisy, 4)[:4], M) < 0.08
    monkeypatch.setattr(module, "WEIGHTS", module.WEIGHTS[-1:])
    assert distance(enclose(noisy, 4)[:4], M) > 0.1


def on_facets(R: int, N: int, noise: float) -> tuple[Tensor, Tensor]:
    r"""Draws mixtures of two or three of R materials, and noise in as many directions again."""
    a = mixtures(R, N) * (torch.rand(R, N).argsort(dim=0) < torch.randint(2, 4, (N,)))
    pixels = torch.cat([a / a.sum(dim=0), torch.zeros(R, N)]).double()

    return pixels + noise * torch.randn_like(pixels), torch.eye(2 * R, R, dtype=torch.float64)


@pytest.mark.parametrize("R", [4, 6])
def test_pixels_on_facets(R: int, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that corners settle where facets are full of pixels, in spite of the noise."""
    pixels, M = on_facets(R, 3000, 0.02)
    settled = distance(enclose(pixels, R), M)
    assert settled < 0.02
    monkeypatch.setattr(module, "NEARLY", -1.0)  # what is found first
    assert settled < 0.75 * distance(enclose(pixels, R), M)


def test_ends_of_a_line() -> None:
    r"""Tests, on a segment, that ends with pixels of their own are at the mean of these."""
    noise = 0.01 * torch.randn(2, 3000, dtype=torch.float64)
    x = torch.cat([torch.zeros(500), torch.ones(500), torch.rand(2000)]) + noise[0]
    ends = x[:500].mean(), x[500:1000].mean()
    V = enclose(torch.stack([x, 1 + noise[1]]), 2)
    for end, found in zip(ends, V[0].sort().values, strict=True):
        assert abs(found - end) < 0.002


def test_few_towards_the_facets(monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that corners do not settle where pixels get fewer: that would cut many off."""
    pixels = torch.cat([mixtures(4, 4000, concentration=3.0), torch.zeros(4, 4000)])
    pixels = pixels + 0.01 * torch.randn_like(pixels)
    V = enclose(pixels, 4)
    monkeypatch.setattr(module, "NEARLY", -1.0)
    assert torch.equal(enclose(pixels, 4), V)
    monkeypatch.setattr(module, "NEARLY", 1.0)
    monkeypatch.setattr(module, "DEFECTS", 1.0)
    M = torch.eye(8, 4, dtype=torch.float64)
    assert distance(enclose(pixels, 4), M) > distance(V, M)


@pytest.mark.parametrize("seed", range(6))
def test_rare_material(seed: int) -> None:
    r"""Tests that a corner that 15 of 3000 pixels hold does not drift off, as it might unseen."""
    torch.manual_seed(seed)
    common = mixtures(2, 2985, concentration=0.5)
    a = torch.zeros(3, 3000, dtype=torch.float64)
    a[:2, :2985], a[2, 2985:] = common, 1
    pixels = torch.cat([a, torch.zeros(5, 3000)]) + 0.03 * torch.randn(8, 3000)
    V, M = enclose(pixels.double(), 3), torch.eye(8, 3, dtype=torch.float64)
    assert distance(V, M) < 0.15


def test_bad_pixel() -> None:
    r"""Tests that a single pixel that is no mixture moves no corner."""
    M = torch.eye(4, dtype=torch.float64)
    pixels = torch.cat([mixtures(4, 4000), torch.zeros(6, 4000)])
    pixels = pixels + 0.01 * torch.randn_like(pixels)
    bad = torch.tensor([1.3, -0.3, *8 * [0]], dtype=torch.float64)[:, None]
    assert distance(enclose(torch.cat([pixels, bad], dim=1), 4)[:4], M) < 0.05


def test_light() -> None:
    r"""Tests that dark pixels, which are noisier, do not push the corners out."""
    M = torch.eye(4, dtype=torch.float64)
    without, given = [], []
    for _ in range(5):
        pixels = torch.cat([mixtures(4, 3000), torch.zeros(6, 3000)])
        light = 0.2 + torch.rand(3000, dtype=torch.float64)
        noisy = pixels + 0.02 * torch.randn_like(pixels) / light
        without.append(distance(enclose(noisy, 4)[:4], M))
        given.append(distance(enclose(noisy, 4, light=light)[:4], M))
        # In any unit
        again = enclose(noisy, 4, light=100 * light)[:4]
        assert distance(again, M) == pytest.approx(given[-1], rel=1e-3)
    assert sum(given) < 0.8 * sum(without)


@pytest.mark.parametrize("purity", [1.0, 0.75])
def test_norms(purity: float) -> None:
    r"""Tests that the norms of endmembers are found where the brightness is one."""
    for seed in range(3):
        scene = scenes.synthetic(16, 4, snr=math.inf, brightness="off", purity=purity, seed=seed)
        pixels, M = scene.image.flatten(1), scene.M.double()
        directions = M / M.sum(dim=0)
        expected = M.norm(dim=0)
        torch.testing.assert_close(norms_of(directions, pixels), expected, rtol=1e-3, atol=0)

        # In the unit of the pixels
        double = norms_of(directions, 2 * pixels)
        torch.testing.assert_close(double, 2 * expected, rtol=1e-3, atol=0)


def test_norms_of_what_is_not_there() -> None:
    r"""Tests that an endmember that no pixel has any of gets a norm all the same."""
    pixels = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.25, 0.0], [0, 0, 0]])
    M = torch.eye(3, dtype=torch.float64)
    norms = norms_of(M, pixels)
    assert norms.isfinite().all()
    assert (norms > 0).all()


def drawing(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_vertices() -> None:
    r"""Tests that only corners are found, each once, from any directions."""
    points = torch.rand(500, 4, dtype=torch.float64).softmax(dim=1).mT
    points[:, [7, 70, 200, 499]] = torch.eye(4, dtype=torch.float64)
    for seed in range(10):
        assert vertices(points, drawing(seed)).sort().values.tolist() == [7, 70, 200, 499]

    # Same seed, same vertices
    y = torch.rand(4, 500, dtype=torch.float64)
    assert torch.equal(vertices(y, drawing(1)), vertices(y, drawing(1)))
    assert any(
        not torch.equal(vertices(y, drawing(0)), vertices(y, drawing(seed)))
        for seed in range(1, 5)
    )
