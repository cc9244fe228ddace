r"""Tests for the smile_core.synthetic module."""

import math
import numpy as np
import pytest
import torch

from smile_core.synthetic import add_noise, synthetic


@pytest.mark.parametrize("endmembers", [2, 4, 7])
@pytest.mark.parametrize("smoothness", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("purity", [0.5, 0.8, 1.0])
def test_synthetic_abundances(endmembers: int, smoothness: float, purity: float) -> None:
    scene = synthetic(48, endmembers, smoothness=smoothness, purity=purity, seed=1)

    # Simplex
    assert scene.a.min() >= 0.0
    torch.testing.assert_close(scene.a.sum(dim=0), torch.ones(48, 48))

    # Each endmember reaches the purity, in a few pixels and exactly, and does not exceed it
    peak = torch.tensor(purity)
    assert torch.equal(scene.a.amax(dim=(1, 2)), peak.expand(endmembers))
    assert torch.all((scene.a == peak).sum(dim=(1, 2)) >= 4)


@pytest.mark.parametrize("brightness", ["off", "smooth", "rough"])
def test_synthetic_model(brightness: str) -> None:
    scene = synthetic(brightness=brightness, snr=math.inf)

    # x = rho M a, to the rounding of float32
    x = torch.einsum(
        "hw,br,rhw->bhw", scene.brightness.double(), scene.M.double(), scene.a.double()
    )
    torch.testing.assert_close(scene.image.double(), x, rtol=2**-24, atol=0.0)

    # Brightness
    rho = scene.brightness
    slope = (rho.diff(dim=0).abs().mean() / 0.25).item()
    if brightness == "off":
        assert torch.all(rho == 1.0)
    else:
        assert 0.5 <= rho.min() < 0.6 < 0.9 < rho.max() <= 1.0
        assert slope < 0.1 if brightness == "smooth" else slope > 0.5


def test_synthetic_smoothness() -> None:
    slopes = [
        synthetic(smoothness=smoothness).a.diff(dim=1).abs().mean().item()
        for smoothness in (0.0, 2.0, 8.0)
    ]
    assert slopes[0] > 2 * slopes[1] > 4 * slopes[2]


def test_add_noise() -> None:
    x = np.full((3, 100, 100), 2.0)
    rng = np.random.default_rng

    # At 20 dB, a tenth of the level
    e = add_noise(x, 20.0, rng(0)) - x
    assert abs(e.std() - 0.2) < 4 * 0.2 / np.sqrt(2 * e.size)

    # Noise scales with the image
    np.testing.assert_allclose(add_noise(5 * x, 20.0, rng(0)) - 5 * x, 5 * e, rtol=1e-9)

    # None
    np.testing.assert_array_equal(add_noise(x, math.inf, rng(0)), x)


@pytest.mark.parametrize("snr", [10.0, 30.0, 50.0])
def test_synthetic_noise(snr: float) -> None:
    clean, noisy = synthetic(snr=math.inf).image.double(), synthetic(snr=snr).image.double()
    e = noisy - clean

    # Level, the same in all bands
    measured = 10 * torch.log10(clean.square().sum() / e.square().sum())
    assert abs(measured.item() - snr) < 0.05
    assert e.std(dim=(1, 2)).max() < 1.1 * e.std(dim=(1, 2)).min()

    # No bias: neither mean nor clipping
    assert e.mean().abs() < 4 * e.std() / math.sqrt(e.numel())
    torch.testing.assert_close(e.max(), -e.min(), rtol=0.2, atol=0.0)


def test_synthetic_seed() -> None:
    first, again, other = (synthetic(32, seed=seed) for seed in (3, 3, 4))
    for key in ("image", "M", "a", "brightness"):
        assert torch.equal(getattr(first, key), getattr(again, key)), key
        assert not torch.equal(getattr(first, key), getattr(other, key)), key
    assert first.materials == again.materials

    # Noise comes last: it does not change what is under it
    assert torch.equal(synthetic(32, seed=3, snr=10.0).a, first.a)


@pytest.mark.parametrize(("endmembers", "min_angle"), [(4, 5.0), (8, 5.0), (5, 15.0)])
def test_synthetic_angles(endmembers: int, min_angle: float) -> None:
    for seed in range(5):
        scene = synthetic(32, endmembers, smoothness=1.0, min_angle=min_angle, seed=seed)
        unit = (scene.M / scene.M.norm(dim=0)).double()
        cosines = (unit.mT @ unit)[*torch.triu_indices(endmembers, endmembers, offset=1)]
        assert math.degrees(math.acos(cosines.max())) >= min_angle - 1e-4
        assert len(set(scene.materials)) == endmembers


def test_synthetic_spectra() -> None:
    earthlib = pytest.importorskip("earthlib").full_library
    scene = synthetic(32, 5, smoothness=1.0)
    torch.testing.assert_close(
        scene.wavelengths,
        torch.from_numpy(1e3 * earthlib.sensor.band_centers),
        rtol=1e-6,
        atol=0.0,
    )

    # Each is a spectrum of the library, measured or named simulated
    for m, material in zip(scene.M.mT, scene.materials, strict=True):
        (row,) = np.flatnonzero((earthlib.data == m.numpy()).all(axis=1))
        labels = earthlib.metadata.iloc[row]
        assert ("simulated" in material) == (labels["LEVEL_4"] == "simulated")
        assert material.startswith(labels["LEVEL_3"].replace("_", " "))

    # All kinds of ground
    assert {"canopy (simulated)", "char"} < set(scene.materials)


@pytest.mark.parametrize("endmembers", [2, 4, 8])
def test_synthetic_shadow(endmembers: int) -> None:
    options = {"size": 32, "seed": 2, "snr": math.inf, "brightness": "off", "smoothness": 1.0}
    scene = synthetic(endmembers=endmembers, shadow=True, **options)
    assert scene.materials[-1] == "shadow (ours)"
    assert "or ours" in scene.source
    assert "ours" not in synthetic(32).source

    # The others are what is drawn without it
    M, m = scene.M[:, :-1], scene.M[:, -1]
    if endmembers > 2:
        fewer = synthetic(endmembers=endmembers - 1, **options)
        assert torch.equal(M, fewer.M)
        assert scene.materials[:-1] == fewer.materials

    # Dark, and bluer than the mean of the others by 22 percent from end to end
    ratio = m / M.mean(dim=1)
    assert ratio[0] == pytest.approx(0.044)
    assert ratio[-1] == pytest.approx(0.036)
    assert torch.all(ratio.diff() < 0.0)

    # It differs in brightness, hardly in direction
    cosine = torch.cosine_similarity(m, M.mean(dim=1), dim=0)
    assert math.degrees(math.acos(cosine)) < 5.0

    # Where it is all of a pixel, the image shows it alone
    pure = scene.a[-1] == 1.0
    assert pure.sum() >= 4
    assert torch.all(scene.image[:, pure] == m[:, None])


@pytest.mark.parametrize(("endmembers", "purity"), [(6, 0.75), (8, 0.75), (8, 1.0)])
def test_synthetic_many(endmembers: int, purity: float) -> None:
    # At the default size and smoothness, and at half of it
    for size in (32, 64):
        scene = synthetic(size, endmembers, purity=purity, seed=7)
        assert torch.equal(scene.a.amax(dim=(1, 2)), torch.tensor(purity).expand(endmembers))

        # Equal parts of the scene, roughly
        shares = scene.a.mean(dim=(1, 2))
        assert shares.max() < 1.5 * shares.min()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 4}, "size should be at least 8"),
        ({"endmembers": 1}, "endmembers at least 2"),
        ({"purity": 0.4}, r"purity in \[0.5, 1\]"),
        ({"smoothness": -1.0}, "smoothness at least 0"),
        ({"snr": math.nan}, "snr should be"),
        ({"brightness": "sunny"}, "brightness should be .* got 'sunny'"),
        ({"endmembers": 6, "min_angle": 60.0}, "No 6 endmembers .* 60.0 degrees"),
        ({"size": 8, "endmembers": 20}, "20 endmembers do not all find pure pixels"),
    ],
)
def test_synthetic_bad(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic(**options)
