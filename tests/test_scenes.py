r"""Tests for the smile_core.scenes module."""

import hashlib
import numpy as np
import pytest
import re
import scipy.io
import subprocess
import sys
import torch

from pathlib import Path

from smile_core import data, scenes
from smile_core.scenes import load, synthetic

REAL = [pytest.param(name, marks=pytest.mark.data(name)) for name in ("samson", "jasper")]
FILED = [pytest.param(k, marks=pytest.mark.data(k)) for k, files in scenes.SCENES.items() if files]


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


def test_unknown() -> None:
    for function in (load, scenes.available, scenes.fingerprint):
        with pytest.raises(ValueError, match=r"'urban'.*samson, jasper, dc1, cuprite, synthetic"):
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
    had = ("samson.mat", "dc1_Yclean.mat", "dc1_abundance240.mat")
    monkeypatch.setattr(scenes, "downloadable", had.__contains__)

    assert scenes.available("samson")
    assert not scenes.available("jasper")

    # All files of a scene are needed
    assert not scenes.available("dc1")
    monkeypatch.setattr(scenes, "find", lambda file: None if file in had else Path(file))
    assert scenes.available("dc1")
    monkeypatch.setattr(scenes, "find", lambda file: None)
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


@pytest.mark.data("dc1")
def test_dc1() -> None:
    scene = load("dc1")
    assert scene.image.shape == (224, 75, 75)
    assert scene.materials == ("jarosite", "anorthite", "calcite", "alunite", "howlite")

    # Abundances: squares of 5 x 5 pixels, those of the first row pure
    torch.testing.assert_close(scene.a.sum(dim=0), torch.ones(75, 75))
    assert (scene.a == 1.0).sum(dim=(1, 2)).tolist() == [25] * 5
    assert scene.brightness.unique().tolist() == pytest.approx([0.9999, 1.0])

    # x = rho M a + e, where e is white noise at 30 dB, the same in all bands
    clean = scene.brightness * torch.tensordot(scene.M, scene.a, dims=1)
    e = (scene.image - clean).double()
    snr = 10 * torch.log10(clean.double().square().sum() / e.square().sum())
    assert abs(snr.item() - 30.0) < 0.03
    assert e.std(dim=(1, 2)).max() < 1.1 * e.std(dim=(1, 2)).min()
    assert e.mean().abs() < 4 * e.std() / e.numel() ** 0.5

    # Drawn with a seed
    assert torch.equal(load("dc1").image, scene.image)

    # Absorptions are at the wavelengths, in nm, known of the minerals
    assert torch.all(scene.wavelengths.diff() > 0.0)
    known = {
        "jarosite": (860.0, 980.0, 920.0),  # ferric iron
        "calcite": (2250.0, 2400.0, 2340.0),  # carbonate
        "alunite": (1700.0, 1800.0, 1760.0),  # hydroxyl
    }
    for material, (low, high, centre) in known.items():
        m = scene.M[:, scene.materials.index(material)]
        inside = (scene.wavelengths > low) & (scene.wavelengths < high)
        assert abs(scene.wavelengths[inside][m[inside].argmin()] - centre) < 12.0, material


@pytest.mark.data("dc1")
def test_dc1_names() -> None:
    # The library that the abundances of the file refer to
    path = data.find(scenes.SCENES["dc1"][0]).with_name("dc1_library240.mat")
    if not path.is_file():
        pytest.skip("no data: dc1_library240.mat")
    library = scipy.io.loadmat(path)["EE"]
    clean, abundances, usgs = (scipy.io.loadmat(data.find(f)) for f in scenes.SCENES["dc1"])
    scene = load("dc1")

    # It makes the image, by five of its spectra
    made = np.tensordot(library, abundances["XT"], axes=1)
    np.testing.assert_allclose(np.moveaxis(clean["Y_clean"], -1, 0), made, atol=1e-12)
    active = np.flatnonzero(abundances["XT"].any(axis=(1, 2)))
    assert active.tolist() == [1, 2, 3, 4, 5]

    # Each is one spectrum of the USGS, bands sorted, whose name begins with the material
    table = usgs["datalib"]
    spectra = table[table[:, 0].argsort(), 3:]
    for k, material in zip(active, scene.materials, strict=True):
        (column,) = np.flatnonzero((spectra == library[:, [k]]).all(axis=0))
        assert bytes(usgs["names"][3 + column]).decode().lower().startswith(material)
    np.testing.assert_array_equal(scene.M, library[:, active].astype(np.float32))

    # Not so unsorted
    assert not (table[:, 3:] == library[:, [1]]).all(axis=0).any()


@pytest.mark.data("cuprite")
def test_cuprite() -> None:
    scene = load("cuprite")
    assert scene.image.shape == (188, 50, 90)
    assert scene.a is None
    assert scene.brightness is None
    assert scene.R == 12
    assert scene.crop(8, 9).a is None

    # Negative values are few, and in the first band
    assert torch.nonzero((scene.image < 0.0).sum(dim=(1, 2))).tolist() == [[0]]
    assert (scene.image < 0.0).sum() == 13
    assert scene.image.max() < 1.0

    # From visible to near infrared, reflectance rises, but where one spectrometer of the sensor
    # ends and the next begins, at shorter wavelengths
    crop = scipy.io.loadmat(data.find("cuprite_crop50x90x188.mat"))["Rcuprite50x90x188"]
    mean = torch.from_numpy(crop.mean(axis=(0, 1))).float() / 1e4
    bands = (scene.image.mean(dim=(1, 2)) - mean[:, None]).abs().argmin(dim=1)  # as in the file
    assert torch.nonzero(mean.diff()[:50] < 0.0).tolist() == [[29]]
    assert torch.nonzero(scene.wavelengths[bands].diff()[:50] < 0.0).tolist() == [[29]]

    # Hence bands are sorted
    assert torch.all(scene.wavelengths.diff() > 0.0)
    torch.testing.assert_close(scene.image.mean(dim=(1, 2))[bands], mean)

    # Of all offsets of its channels, the reference resembles the pixels most at that of the scene
    reference = scipy.io.loadmat(data.find("cuprite_gt_end12.mat"))
    channels = reference["slctBnds"].ravel().astype(int) - 1
    pixels = torch.nn.functional.normalize(scene.image.flatten(1), dim=0)
    closest = {}
    for offset in range(-6, 4):
        M = torch.from_numpy(reference["M"][(channels + offset).clip(min=0)]).float()
        M = M[bands.argsort()]
        cosines = torch.nn.functional.normalize(M, dim=0).mT @ pixels
        closest[offset] = cosines.amax(dim=1).acos().mean().item()
        assert torch.equal(M, scene.M) == (offset == -3)
    assert min(closest, key=closest.get) == -3

    # Absorptions are at the wavelengths, in nm, known of the minerals
    window = (scene.wavelengths > 2080.0) & (scene.wavelengths < 2320.0)
    known = {
        "alunite": 2170.0,
        "buddingtonite": 2120.0,
        "kaolinite 1": 2205.0,
        "kaolinite 2": 2205.0,
        "muscovite": 2200.0,
        "montmorillonite": 2210.0,
        "nontronite": 2290.0,
    }
    for material, centre in known.items():
        m = scene.M[window, scene.materials.index(material)]
        assert abs(scene.wavelengths[window][m.argmin()] - centre) < 12.0, material


@pytest.mark.parametrize("name", FILED)
def test_fingerprint(name: str) -> None:
    contents = [data.find(file).read_bytes() for file in scenes.SCENES[name]]
    shas = [hashlib.sha256(content).hexdigest() for content in contents]
    assert scenes.fingerprint(name).split("+") == shas


@pytest.mark.parametrize("name", FILED)
def test_colours(name: str) -> None:
    # Of land, seen in natural colours, more is red than blue
    rgb = load(name).rgb
    assert rgb.shape == (*load(name).image.shape[1:], 3)
    assert rgb[..., 0].mean() > rgb[..., 2].mean()


def test_synthetic_by_name() -> None:
    scene = load("synthetic")
    assert torch.equal(scene.image, synthetic().image)
    assert scenes.fingerprint("synthetic").startswith("synthetic-")


def test_import_is_light() -> None:
    code = "import sys, smile_core.scenes; print('earthlib' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=data.ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
