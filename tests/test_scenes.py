r"""Tests for the smile_core.scenes module."""

import hashlib
import math
import numpy as np
import pytest
import re
import scipy.io
import subprocess
import sys
import torch

from pathlib import Path

from smile_core import data, scenes
from smile_core.scenes import Scene, load, synthetic

REAL = [pytest.param(name, marks=pytest.mark.data(name)) for name in ("samson", "jasper")]


def make_scene(**changes: object) -> Scene:
    fields = {
        "name": "toy",
        "image": torch.arange(30.0).reshape(5, 2, 3) / 30.0,
        "M": torch.ones(5, 2),
        "a": torch.full((2, 2, 3), 0.5),
        "materials": ("soil", "tree"),
        "wavelengths": torch.linspace(450.0, 650.0, 5),
        "source": "Made by hand.",
        "brightness": torch.ones(2, 3),
    }
    return Scene(**(fields | changes))


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    r"""Makes a Samson of 2 rows and 3 columns, whose pixel (r, c) is 10 r + c + 1 in all bands."""
    path = tmp_path / "samson.mat"
    pixels = [10 * r + c + 1 for c in range(3) for r in range(2)]  # column-major
    scipy.io.savemat(
        path,
        {
            "Y": np.tile(pixels, (156, 1)) / 13.0,
            "GT": np.full((3, 156), 0.5),
            "S_GT": np.arange(18).reshape(2, 3, 3) / 18.0,
            "lines": [[2]],
            "cols": [[3]],
        },
    )
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(data.FILES, "samson.mat", ("https://host/Samson.mat", sha256))
    monkeypatch.setenv("SMILE_DATA", str(tmp_path))
    return path


def test_scene() -> None:
    scene = make_scene()
    assert scene.R == 2
    assert repr(scene) == "Scene(toy: 5 bands, 2 x 3 pixels, soil, tree)"

    # Without reference
    assert make_scene(M=None, a=None, brightness=None).M is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wavelengths": torch.ones(4)}, r"wavelengths .* \(bands, rows, cols\) = \(5, 2, 3\)"),
        ({"image": torch.ones(2, 3)}, r"image .* \(bands, rows, cols\), .* shape \(2, 3\)"),
        ({"image": torch.ones(5, 2, 3).double()}, "image .* float32 .* got torch.float64"),
        ({"image": torch.full((5, 2, 3), math.nan)}, "image .* got 30 values that are NaN"),
        ({"M": torch.full((5, 2), math.inf)}, "M .* got 10 values that are NaN or infinite"),
        ({"M": torch.ones(2, 5)}, r"M .* shape \(5, 2\), got \(2, 5\)"),
        ({"a": torch.ones(2, 3, 2)}, r"a .* shape \(2, 2, 3\), got \(2, 3, 2\)"),
        ({"materials": ("soil",)}, r"M .* shape \(5, 1\), got \(5, 2\)"),
        ({"brightness": torch.ones(3, 2)}, r"brightness .* shape \(2, 3\), got \(3, 2\)"),
    ],
)
def test_scene_bad(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_scene(**changes)


def test_crop() -> None:
    scene = make_scene()

    # From the top left corner
    crop = scene.crop(1, 2, at=(1, 0))
    assert torch.equal(crop.image, scene.image[:, 1:2, 0:2])
    assert crop.a.shape == (2, 1, 2)
    assert crop.brightness.shape == (1, 2)
    assert torch.equal(crop.M, scene.M)

    # In the centre
    assert torch.equal(scene.crop(2, 1).image, scene.image[:, :, 1:2])

    # Without reference
    assert make_scene(M=None, a=None, brightness=None).crop(1, 1).a is None

    # Out of the image
    for rows, cols, at in [(3, 1, None), (1, 1, (0, 3)), (1, 1, (-1, 0)), (0, 1, (0, 0))]:
        with pytest.raises(ValueError, match=f"crop of {rows} x {cols} pixels .* 2 x 3 pixels"):
            scene.crop(rows, cols, at=at)


def test_rgb() -> None:
    # Bands are 450, 500, 550, 600, 650 nm
    image = torch.zeros(5, 10, 10)
    image[4, :, :5] = 1.0  # red on the left
    image[0, :, 5:] = 1.0  # blue on the right
    scene = make_scene(image=image, M=None, a=None, brightness=None)
    assert torch.equal(scene.rgb[0, 0], torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(scene.rgb[0, 9], torch.tensor([0.0, 0.0, 1.0]))

    # A flat image divides by nothing
    assert make_scene(image=torch.ones(5, 2, 3)).rgb.isfinite().all()


def test_unknown() -> None:
    for function in (load, scenes.available, scenes.fingerprint):
        with pytest.raises(ValueError, match=r"'urban'.*samson, jasper, synthetic"):
            function("urban")


@pytest.mark.usefixtures("tiny")
def test_column_major() -> None:
    scene = load("samson")

    # Pixels
    expected = torch.tensor([[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]]) / 13.0
    torch.testing.assert_close(scene.image, expected.expand(156, 2, 3))

    # Abundances are rows, columns, endmembers in the file
    assert scene.a.shape == (3, 2, 3)
    assert scene.a[2, 1, 0] == torch.tensor(11 / 18)


def test_corrupted(tiny: Path) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-1])

    # Shown, rather than skipped
    assert scenes.available("samson")
    with pytest.raises(ValueError, match=r"samson\.mat is corrupted"):
        load("samson")


def test_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: str) -> None:
        raise scenes.DataUnavailableError(f"{file} cannot be had.")

    monkeypatch.setattr(scenes, "find", lambda file: None)
    monkeypatch.setattr(scenes, "download", refuse)
    monkeypatch.setattr(scenes, "downloadable", lambda file: file == "samson.mat")

    assert scenes.available("samson")
    assert not scenes.available("jasper")
    with pytest.raises(scenes.DataUnavailableError, match=r"jasper\.mat cannot be had"):
        load("jasper")

    # The synthetic scene needs no file
    assert scenes.available("synthetic")
    assert load("synthetic").name == "synthetic"


@pytest.mark.data("samson")
def test_samson_envi() -> None:
    # The same scene, as another author published it
    folder = data.find("samson.mat").parent
    raster, header = folder / "samson_envi.img", folder / "samson_envi.hdr"
    if not (raster.is_file() and header.is_file()):
        pytest.skip("no data: samson_envi.img")
    text = header.read_text()
    fields = dict(re.findall(r"^([a-z ]+?) *= (\w+)\s*$", text, flags=re.MULTILINE))
    assert (fields["data type"], fields["interleave"], fields["byte order"]) == ("2", "bsq", "0")
    B, H, W = (int(fields[key]) for key in ("bands", "lines", "samples"))
    numbers = np.fromfile(raster, dtype="<i2").reshape(B, H, W)
    scene = load("samson")

    # Digital numbers over the largest, negative ones set to zero
    expected = torch.from_numpy(numbers.clip(min=0) / numbers.max()).float()
    assert torch.equal(scene.image, expected)

    # Wavelengths
    listed = text.split("wavelength = {")[1].split("}")[0].split(",")
    wavelengths = torch.tensor([float(number) for number in listed])
    torch.testing.assert_close(scene.wavelengths, wavelengths, rtol=0.0, atol=1e-3)


@pytest.mark.data("jasper")
def test_jasper_layout() -> None:
    scene = load("jasper")

    def misfit(a: torch.Tensor) -> float:
        return float(
            (scene.image - torch.tensordot(scene.M, a, dims=1)).norm() / scene.image.norm()
        )

    # The reference explains the image, but not a transposed one
    assert misfit(scene.a) < 0.2
    assert misfit(scene.a.mT) > 0.6

    # Soil and road are alike, but for the blue
    blue = (scene.wavelengths - 450.0).abs().argmin()
    soil, road = (
        scene.image[blue, scene.a[scene.materials.index(name)] > 0.9].mean()
        for name in ("soil", "road")
    )
    assert road > 2 * soil

    # Nominal wavelengths, channels counted from 1
    removed = {*range(1, 4), *range(108, 113), *range(154, 167), *range(220, 225)}
    expected = [380.0 + 2120.0 * (k - 1) / 223 for k in range(1, 225) if k not in removed]
    torch.testing.assert_close(scene.wavelengths, torch.tensor(expected))


@pytest.mark.parametrize("name", REAL)
def test_real(name: str) -> None:
    scene = load(name)
    assert scene.image.min() == 0.0
    assert scene.image.max() == 1.0
    assert "not measured in the field" in scene.source

    # Abundances
    assert scene.a.min() >= 0.0
    torch.testing.assert_close(scene.a.sum(dim=0), torch.ones(scene.a.shape[1:]))

    # Pure pixels look as their material should: trees have a red edge, water is dark
    red, infrared = ((scene.wavelengths - nm).abs().argmin() for nm in (670.0, 850.0))
    pure = torch.stack([scene.image[:, a > 0.95].mean(dim=1) for a in scene.a], dim=1)
    ndvi = (pure[infrared] - pure[red]) / (pure[infrared] + pure[red])
    assert ndvi[scene.materials.index("tree")] > 0.6
    assert ndvi.argmax() == scene.materials.index("tree")
    assert pure[infrared].argmin() == scene.materials.index("water")

    # Endmembers are in the order of the abundances
    unit, unit_ref = (v / v.norm(dim=0) for v in (pure, scene.M))
    assert torch.equal((unit.mT @ unit_ref).argmax(dim=1), torch.arange(scene.R))

    # Fingerprint
    path = data.find(f"{name}.mat")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == scenes.fingerprint(name)


@pytest.mark.parametrize("endmembers", [2, 4, 7])
@pytest.mark.parametrize("smoothness", [0.0, 4.0, 8.0])
@pytest.mark.parametrize("purity", [0.5, 0.8, 1.0])
def test_synthetic_abundances(endmembers: int, smoothness: float, purity: float) -> None:
    scene = synthetic(48, endmembers, smoothness=smoothness, purity=purity, seed=1)

    # Simplex
    assert scene.a.min() >= 0.0
    torch.testing.assert_close(scene.a.sum(dim=0), torch.ones(48, 48))

    # Each endmember reaches the purity, in a few pixels and exactly
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

    # By name
    assert torch.equal(load("synthetic").image, synthetic().image)
    assert scenes.fingerprint("synthetic").startswith("synthetic-")


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


def test_import_is_light() -> None:
    code = "import sys, smile_core.scenes; print('earthlib' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=data.ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
