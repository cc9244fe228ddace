r"""Tests for the smile_core.unmix_file module; those of the command are in test_cli.py."""

import json
import numpy as np
import pytest
import torch

from pathlib import Path

import smile_core

from smile_core import unmix_file as unmix_file_module
from smile_core.result import Unmixing
from smile_core.unmix_file import TILES, UNFINISHED, unmix_file

rasterio = pytest.importorskip("rasterio", reason="the extra 'geo' is not installed")
pytest.importorskip("spectral", reason="the extra 'geo' is not installed")

TRANSFORM = rasterio.Affine(30, 0, 5e5, 0, -30, 4e6)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).uniform(0.1, 0.9, (6, 5, 4)).astype(np.float32)
    path = tmp_path / "image.tif"
    shape = {"count": 6, "height": 5, "width": 4, "dtype": "float32", "crs": "EPSG:32610"}
    with rasterio.open(path, "w", driver="GTiff", transform=TRANSFORM, **shape) as file:
        file.write(pixels)

    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out"


def run(image: Path, out: Path, **options: object) -> dict[str, object]:
    return unmix_file(image, 2, out, mode="single", say=lambda text: None, **options)


def test_maps_are_where_the_image_is(image: Path, out: Path) -> None:
    # What comes as GeoTIFF goes as GeoTIFF
    summary = run(image, out, scale=3)
    for name, size in (("abundances", 30), ("abundances_hr", 10)):
        with rasterio.open(out / f"{name}.tif") as file:
            assert file.crs == "EPSG:32610"
            assert file.transform == rasterio.Affine(size, 0, 5e5, 0, -size, 4e6)
            assert np.allclose(file.read().sum(axis=0), 1, atol=1e-5)

    # What was found is named, all of it is there, and nothing else
    assert {Path(str(path)) for path in summary["paths"]} == set(out.iterdir())
    assert summary == json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["largest_gap"] == Unmixing.load(out / "result.npz").gap.max()


def test_part_in_the_centre(image: Path, out: Path) -> None:
    summary = run(image, out, format="envi", size=2)
    assert (summary["bands"], summary["rows"], summary["cols"]) == (6, 2, 2)

    # Its first pixel is that of row 1 and column 1, on the map and in the result
    with rasterio.open(out / "abundances.img") as file:
        assert file.xy(0, 0) == rasterio.transform.xy(TRANSFORM, 1, 1)
    with rasterio.open(image) as file:
        expected = smile_core.unmix(file.read()[:, 1:3, 1:3], 2, mode="single")
    torch.testing.assert_close(Unmixing.load(out / "result.npz").a, expected.a)

    # One that is larger than the image is the image
    assert run(image, out, size=99, force=True)["rows"] == 5


def test_names(tmp_path: Path, out: Path) -> None:
    # Pure pixels of two materials, which the library has among others
    nm, rng = np.linspace(400, 1000, 8), np.random.default_rng(0)
    spectra = dict(zip(("grass", "sand", "snow"), rng.uniform(0.1, 0.9, (3, 8)), strict=True))
    table = np.column_stack([nm, *spectra.values()])
    library = tmp_path / "library.csv"
    np.savetxt(library, table, delimiter=",", comments="", header=f"nm,{','.join(spectra)}")
    materials = np.array([["snow", "sand", "snow"], ["sand", "sand", "snow"]])
    pixels = np.array([[spectra[name] for name in row] for row in materials])
    path = tmp_path / "pure.npz"
    np.savez(path, image=pixels, wavelengths=nm)

    run(path, out, library=str(library))
    rows = [line.split(",") for line in (out / "names.csv").read_text("utf-8").splitlines()[1:]]
    nearest = [name for _, rank, name, *_ in rows if rank == "1"]
    a = Unmixing.load(out / "result.npz").a
    assert np.array_equal(np.array(nearest)[a.argmax(dim=0).numpy()], materials)

    # An image that does not know its wavelengths, told before the work
    np.save(tmp_path / "blind.npy", pixels)
    with pytest.raises(ValueError, match="its wavelengths are needed"):
        run(tmp_path / "blind.npy", out, force=True, library=str(library))


def test_all_or_nothing(image: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError("no space left")

    # A failure at the last file leaves none
    with monkeypatch.context() as patch:
        patch.setattr("smile_core.unmix_file.write_maps", fail)
        with pytest.raises(OSError, match="no space left"):
            run(image, out)
    assert list(out.iterdir()) == []

    # What a killed run has left is no obstacle, and does not stay
    (out / UNFINISHED).mkdir()
    (out / UNFINISHED / "result.npz").write_text("half")
    run(image, out)
    assert not (out / UNFINISHED).exists()

    # Whole results stand
    with pytest.raises(FileExistsError, match="is not empty"):
        run(image, out)


def test_large_image(image: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By tiles, what comes out is the same, but for the folder that stands for one file
    expected = run(image, out)
    maps, before = (out / "abundances_hr.tif").read_bytes(), Unmixing.load(out / "result.npz")
    monkeypatch.setattr(unmix_file_module, "LARGE", 10)
    with pytest.raises(FileExistsError, match="not empty"):
        run(image, out)
    summary = run(image, out, force=True)
    assert (out / "abundances_hr.tif").read_bytes() == maps
    result = smile_core.load_large(out / "result")
    torch.testing.assert_close(result.a, before.a)
    assert {Path(str(path)) for path in summary["paths"]} == {*out.iterdir()}
    for name in ("bands", "rows", "cols", "endmembers", "dead_pixels"):
        assert summary[name] == expected[name]
    assert run(image, out, force=True)["largest_gap"] == summary["largest_gap"]


def test_nothing_old_stays(image: Path, out: Path) -> None:
    r"""Tests that what an earlier run has written goes, and nothing else."""
    run(image, out, format="envi")
    (out / "notes.txt").write_text("mine")
    (out / "names.csv").write_text("not listed")
    summary = run(image, out, format="geotiff", force=True)
    written = {Path(str(path)) for path in summary["paths"]}
    assert {*out.iterdir()} == {*written, out / "notes.txt", out / "names.csv"}
    assert not list(out.glob("*.hdr"))

    # A summary that is damaged lists nothing
    (out / "summary.json").write_text("{")
    run(image, out, format="geotiff", force=True)
    assert (out / "notes.txt").read_text() == "mine"


def test_tiles_outlive_the_last_step(
    image: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unmix_file_module, "LARGE", 10)

    def interrupt(values: dict[str, object], **options: object) -> str:
        if "largest_gap" in values:
            raise KeyboardInterrupt
        return dumps(values, **options)

    dumps = json.dumps
    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(image, out)
    assert [path.name for path in out.iterdir()] == [TILES]
    assert (out / TILES / "run.json").exists()


def test_large_image_resumes(image: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tiles that were done are kept where the same is asked for, and thrown away otherwise
    monkeypatch.setattr(unmix_file_module, "LARGE", 10)

    def fail(*args: object, **options: object) -> None:
        raise OSError("There is no room.")

    with monkeypatch.context() as patch:
        patch.setattr(unmix_file_module, "write_maps", fail)
        with pytest.raises(OSError, match="no room"):
            run(image, out)
    assert (out / TILES / "run.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr("smile_core.large.unmix", fail)
        run(image, out)
    assert not (out / TILES).exists() and (out / "result" / "a.npy").exists()

    with monkeypatch.context() as patch:
        patch.setattr(unmix_file_module, "write_maps", fail)
        with pytest.raises(OSError, match="no room"):
            run(image, out, force=True)
    assert run(image, out, force=True, scale=3)["scale"] == 3
