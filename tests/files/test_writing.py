r"""Tests for the smile_core.files.writing module."""

import numpy as np
import pandas as pd
import pytest
import torch

from pathlib import Path
from typing import Any

from smile_core.files.image import Image, Place, prepare
from smile_core.files.images import open_image
from smile_core.files.library import read_library
from smile_core.files.writing import write_maps, write_spectra
from smile_core.result import Unmixing

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("rasterio.warp")
pytest.importorskip("spectral")

NM = np.array([500.0, 1400.0, 700.0])

UTM = Place((30.0, 0.0, 5e5, 0.0, -30.0, 5e6), "EPSG:32610")


def make_image(place: Place | None = UTM) -> Image:
    return Image(np.ones((3, 2, 3)), Path("scene.hdr"), wavelengths=NM, place=place)


def make_result(scale: int = 2) -> Unmixing:
    r"""Makes abundances that differ in every pixel, of which that at row 0, column 2 is dead."""
    a_hr = torch.rand(2, 2 * scale, 3 * scale).softmax(dim=0)
    dead = torch.zeros(2, 3, dtype=torch.bool)
    dead[0, 2] = True
    return Unmixing(
        M=torch.rand(2, 2),
        M_first=torch.rand(2, 2),
        a=torch.rand(2, 2, 3).softmax(dim=0),
        a_hr=a_hr,
        brightness=torch.ones(2, 3),
        brightness_hr=torch.ones(a_hr.shape[1:]),
        gap=torch.zeros(2, 3),
        dead=dead,
        history={},
        level=1.0,
        mode="self",
        convention="share",
        scale=scale,
        seed=0,
        settings={},
        device="cpu",
        versions={},
        seconds={},
        network={},
    )


@pytest.mark.parametrize("name", ["maps.tif", "maps.TIFF", "maps.hdr", "maps.img"])
@pytest.mark.parametrize("scale", [2, 3])
def test_maps(tmp_path: Path, name: str, scale: int) -> None:
    result, names = make_result(scale), ["iron oxide", "grass"]
    path = write_maps(tmp_path / name, result, make_image(), names)
    assert path.suffix == {"maps.img": ".hdr"}.get(name, Path(name).suffix)

    # Another library finds the same corner, and pixels as many times smaller
    dead = result.dead.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    expected = result.a_hr.masked_fill(dead, -9999.0)
    with rasterio.open(path.with_suffix(".img") if path.suffix == ".hdr" else path) as file:
        np.testing.assert_array_equal(file.read(), expected)
        assert file.transform == rasterio.Affine(30 / scale, 0, 5e5, 0, -30 / scale, 5e6)
        assert file.crs == rasterio.crs.CRS.from_epsg(32610)
        assert file.nodata == -9999.0
        assert file.descriptions == tuple(names)
        assert set(file.dtypes) == {"float32"}

    # So do we
    image = open_image(path)
    assert image.names == tuple(names)
    assert image.place.transform == UTM.finer(scale).transform
    assert image.place.crs == "EPSG:32610"
    cube = prepare(image).cube
    assert torch.equal(cube, result.a_hr.masked_fill(dead, 0))

    # Nothing else is left
    written = {p.name for p in tmp_path.iterdir() if not p.name.endswith(".aux.xml")}
    assert written == ({"maps.hdr", "maps.img"} if path.suffix == ".hdr" else {name})


@pytest.mark.parametrize("name", ["maps.tif", "maps.hdr"])
@pytest.mark.parametrize(
    "place",
    [
        Place((0.5, 0.0, 10.0, 0.0, -0.25, 50.0), "EPSG:4326"),
        Place((10.0, 0.0, 6e5, 0.0, -10.0, 5e6), "EPSG:25832"),
        Place((10.0, 0.0, 2.6e6, 0.0, -10.0, 1.2e6), "EPSG:2056"),
        Place((10.0, 0.0, 6e5, 0.0, -10.0, 5e6)),
    ],
    ids=["geographic", "utm of another datum", "oblique", "unknown"],
)
def test_places(tmp_path: Path, name: str, place: Place) -> None:
    def assert_placed(path: Path, shape: tuple[int, int]) -> None:
        # Where another library finds the pixels, in the system that was meant
        with rasterio.open(path.with_suffix(".img") if path.suffix == ".hdr" else path) as file:
            assert file.shape == shape
            assert file.transform[:6] == pytest.approx(place.finer(2).transform)
            if place.crs:
                x, y = file.xy(2, 3, offset="ul")
                there = rasterio.warp.transform(file.crs, place.crs, [x], [y])
                assert there == ([pytest.approx(x, abs=1e-6)], [pytest.approx(y, abs=1e-6)])

    path = write_maps(tmp_path / name, make_result(), make_image(place))
    assert_placed(path, (4, 6))
    again = open_image(path)
    assert again.names == ("endmember 1", "endmember 2")

    # From one format to the other
    image = make_image(again.place)
    path = write_maps(tmp_path / "low.tif", make_result(), image, resolution="low")
    assert_placed(path, (2, 3))


def test_envi_keeps_map_info(tmp_path: Path) -> None:
    info = ("State Plane (NAD 27)", "3", "2", "100.0", "200.0", "2", "2", "3101", "units=Feet")
    place = Place((2.0, 0.0, 96.0, 0.0, -2.0, 202.0), "", info)
    header = write_maps(tmp_path / "maps.hdr", make_result(), make_image(place)).read_text()
    line = next(line for line in header.splitlines() if line.startswith("map info"))
    assert line.partition("=")[2].strip(" {}").split(" , ") == [
        *("State Plane (NAD 27)", "1", "1", "96.0", "202.0", "1.0", "1.0", "3101", "units=Feet")
    ]


@pytest.mark.parametrize("name", ["maps.tif", "maps.hdr"])
def test_without_place(tmp_path: Path, name: str) -> None:
    path = write_maps(tmp_path / name, make_result(), make_image(None))
    assert open_image(path).place is None


def test_broken_system(tmp_path: Path) -> None:
    place = Place(UTM.transform, 'PROJCS["broken"')
    with pytest.warns(UserWarning, match=r"left out of .*maps\.tif.*broken"):
        path = write_maps(tmp_path / "maps.tif", make_result(), make_image(place))
    assert open_image(path).place == Place(UTM.finer(2).transform)


def test_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("maps.tif", "maps.hdr"):
        write_maps(tmp_path / name, make_result(), make_image())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("no space")

    monkeypatch.setattr(rasterio, "open", fail)
    monkeypatch.setattr("spectral.io.envi.write_envi_header", fail)
    for name in ("maps.tif", "maps.hdr", "new.tif", "new.hdr"):
        with pytest.raises(OSError, match="no space"):
            write_maps(tmp_path / name, make_result(), make_image())
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("nm", [NM, None])
def test_spectra(tmp_path: Path, nm: np.ndarray | None) -> None:
    image = Image(np.ones((3, 2, 3)), Path("scene.hdr"), wavelengths=nm)
    M, bands, names = torch.tensor([[0.1, 0.2], [0.3, 0.4]]), np.array([0, 2]), ["a b", "Na,Sy"]
    table = pd.read_csv(write_spectra(tmp_path / "M.csv", M, image, bands, names))
    assert list(table) == ["band" if nm is None else "wavelength (nm)", "a b", "Na,Sy"]
    assert table.iloc[:, 0].tolist() == ([1, 2, 3] if nm is None else NM.tolist())
    expected = np.float32([[0.1, 0.2], [np.nan, np.nan], [0.3, 0.4]])
    np.testing.assert_allclose(table.iloc[:, 1:], expected)

    # The library, as another library reads it
    path = write_spectra(tmp_path / "M.SLI", M, image, bands, names)
    library = pytest.importorskip("spectral.io.envi").open(str(path.with_suffix(".hdr")))
    np.testing.assert_allclose(library.spectra.T, expected)
    assert library.names == ["a b", "Na-Sy"]  # a comma divides names
    assert library.bands.centers == (None if nm is None else NM.tolist())

    # Both, as we do
    if nm is not None:
        for name in ("M.csv", "M.sli"):
            read = read_library(tmp_path / name)
            assert read.wavelengths.tolist() == [500.0, 700.0, 1400.0]
            np.testing.assert_allclose(read.spectra, expected[[0, 2, 1]])
    assert {p.name for p in tmp_path.iterdir()} == {"M.csv", "M.sli", "M.hdr"}


def test_leaves_the_image_alone(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi")
    envi.save_image(str(tmp_path / "scene.hdr"), np.ones((2, 3, 3)))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    result, image = make_result(), open_image(tmp_path / "scene.hdr")
    for name in ("scene.hdr", "scene.img", f"../{tmp_path.name}/scene.hdr"):
        with pytest.raises(ValueError, match=r"should not have the name of the image"):
            write_maps(tmp_path / name, result, image)
    with pytest.raises(ValueError, match=r"should not have the name of the image"):
        write_spectra(tmp_path / "scene.sli", result.M, image, np.arange(2))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_bad(tmp_path: Path) -> None:
    result, image = make_result(), make_image()
    for names in (["a"], ["a", "a"], ["a", ""], ["a", "b\nc"], ["a", "{b}"], ["a", 2]):
        with pytest.raises(ValueError, match=r"2 different names|a line of text"):
            write_maps(tmp_path / "maps.tif", result, image, names)
    with pytest.raises(ValueError, match=r"end in \.tif, .*maps\.png"):
        write_maps(tmp_path / "maps.png", result, image)
    with pytest.raises(ValueError, match="'high' or 'low', got 'hr'"):
        write_maps(tmp_path / "maps.tif", result, image, resolution="hr")
    with pytest.raises(ValueError, match=r"\(2, 3\) rows and cols of the result, got \(1, 3\)"):
        write_maps(tmp_path / "maps.tif", result, image.crop(1, 3))
    with pytest.raises(ValueError, match=r"end in \.csv or \.sli"):
        write_spectra(tmp_path / "M.txt", result.M, image, np.arange(2))
    with pytest.raises(ValueError, match=r"shape \(3, R\), got \(2, 2\)"):
        write_spectra(tmp_path / "M.csv", result.M, image, np.arange(3))
    with pytest.raises(OSError, match="nowhere"):
        write_maps(tmp_path / "nowhere" / "maps.hdr", result, image)
    assert list(tmp_path.iterdir()) == []
