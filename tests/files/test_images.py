r"""Tests for the smile_core.files.images module."""

import io
import numpy as np
import pickle
import pytest
import scipy.io
import torch
import zipfile

from damage import damage, damaging
from hypothesis import given
from hypothesis import strategies as st
from pathlib import Path
from typing import Any

from smile_core import data, scenes
from smile_core.files import images
from smile_core.files.image import prepare
from smile_core.files.images import open_image

# Number at (row, col, band)
CUBE = np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4) + 1
FIRST = np.moveaxis(CUBE, -1, 0)

NM = np.array([450.0, 550.0, 650.0, 850.0])


@pytest.mark.data("samson")
def test_samson() -> None:
    # The same scene in two formats: digital numbers over the largest, negative ones set to zero
    pytest.importorskip("spectral")
    header = data.find("samson.mat").with_name("samson_envi.hdr")
    if not header.is_file():
        pytest.skip("no data: samson_envi.hdr")
    image, scene = scenes.open_image(header), scenes.load("samson")
    prepared = prepare(image)
    assert torch.equal(prepared.cube.clamp_min(0) / prepared.cube.max(), scene.image)
    torch.testing.assert_close(prepared.wavelengths, scene.wavelengths, rtol=0, atol=1e-3)
    assert prepared.message == "156 of 156 bands are used."
    assert image.place.transform[:3] == (1.0, 0.0, 612730.91)
    assert image.place.crs == "EPSG:32610"


# GeoTIFF


def write_geotiff(path: Path, **options: Any) -> None:
    rasterio = pytest.importorskip("rasterio")
    shape = {"count": 4, "height": 3, "width": 5, "dtype": "float32"}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(30, 0, 5e5, 0, -30, 5e6)}
    settings = {key: options.pop(key) for key in ("scales", "offsets") if key in options}
    tags = options.pop("tags", [{}] * 4)
    names = options.pop("descriptions", [None] * 4)
    with rasterio.open(path, "w", driver="GTiff", **shape, **(place | options)) as file:
        file.write(FIRST)
        file.descriptions = names
        for key, value in settings.items():
            setattr(file, key, value)
        for band, tag in enumerate(tags, 1):
            file.update_tags(band, **tag)


@pytest.mark.parametrize(
    "tags",
    [
        [{"wavelength": f"{nm}", "wavelength_units": "Nanometers"} for nm in NM],
        [{"WAVELENGTH": f"{nm / 1e3}", "wavelength_units": "Micrometers"} for nm in NM],
        [{"ns": "IMAGERY", "CENTRAL_WAVELENGTH_UM": f"{nm / 1e3}"} for nm in NM],
    ],
)
def test_geotiff(tmp_path: Path, tags: list[dict[str, str]]) -> None:
    path = tmp_path / "scene.TIF"
    write_geotiff(path, tags=tags, nodata=-9999, scales=[0.5] * 4, offsets=[1.0] * 4)
    image = open_image(path)
    np.testing.assert_array_equal(image.pixels, FIRST)
    np.testing.assert_array_equal(prepare(image).cube, 0.5 * FIRST + 1)
    assert image.wavelengths == pytest.approx(NM)
    assert image.no_data == -9999
    assert image.place.transform == (30, 0, 5e5, 0, -30, 5e6)
    assert image.place.crs == "EPSG:32632"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([f"{nm} Nanometers" for nm in NM], NM),
        ([f"band 1 ({nm / 1e3} Micrometers)" for nm in NM], NM),
        ([f"B{k} {nm:.0f}nm" for k, nm in enumerate(NM)], NM),
        (["blue", "green", "red", "850 nm"], None),
    ],
)
def test_geotiff_names(tmp_path: Path, names: list[str], expected: np.ndarray | None) -> None:
    write_geotiff(tmp_path / "scene.tif", descriptions=names)
    image = open_image(tmp_path / "scene.tif")
    assert image.names == tuple(names)
    if expected is None:
        assert image.wavelengths is None
    else:
        assert image.wavelengths == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_geotiff_without_place(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "scene.tif", transform=None, crs=None)
    image = open_image(tmp_path / "scene.tif", wavelengths=NM)
    assert image.place is None
    assert image.wavelengths.tolist() == NM.tolist()
    with pytest.raises(ValueError, match=r"scene\.tif.*wavelengths should be 4 finite"):
        open_image(tmp_path / "scene.tif", wavelengths=NM[:3])


def test_enmap(tmp_path: Path) -> None:
    # Bands are described in a file beside the image
    path = tmp_path / "ENMAP01-____L2A-DT0000000001_V010401-SPECTRAL_IMAGE.TIF"
    band = "<bandID number='{}'><wavelengthCenterOfBand>{}</wavelengthCenterOfBand><FWHMOfBand>6"
    band += "</FWHMOfBand><GainOfBand>0.0001</GainOfBand><OffsetOfBand>0.5</OffsetOfBand></bandID>"
    text = "".join(band.format(k, nm) for k, nm in enumerate(NM, 1))
    text = f"<bandCharacterisation>{text}</bandCharacterisation>"
    metadata = path.with_name("ENMAP01-____L2A-DT0000000001_V010401-METADATA.XML")
    metadata.write_text(f"<level_X><specific>{text}<bandID/></specific></level_X>")
    write_geotiff(path)
    image = open_image(path)
    assert image.wavelengths.tolist() == NM.tolist()
    np.testing.assert_allclose(prepare(image).cube, 1e-4 * FIRST + 0.5)

    metadata.write_text("<level_X/>")
    with pytest.raises(ValueError, match=r"METADATA\.XML' should describe the 4 bands"):
        open_image(path)


def test_geotiff_is_one(tmp_path: Path) -> None:
    # A text that names another file is none, though GDAL would open it
    write_geotiff(tmp_path / "scene.tif")
    (tmp_path / "other.tif").write_text(
        '<VRTDataset rasterXSize="5" rasterYSize="3"><VRTRasterBand dataType="Float32" band="1">'
        f"<SimpleSource><SourceFilename>{tmp_path / 'scene.tif'}</SourceFilename></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(ValueError, match=r"other\.tif"):
        open_image(tmp_path / "other.tif")


# MATLAB


@pytest.mark.parametrize("name", ["wavelength", "Wavelengths", "waveLength", "lambda"])
def test_matlab(tmp_path: Path, name: str) -> None:
    path = tmp_path / "scene.mat"
    scipy.io.savemat(path, {"Y": CUBE, "M": np.ones((4, 2)), "c": "text", name: NM / 1e3})
    image = open_image(path)
    np.testing.assert_array_equal(image.pixels, FIRST)
    assert image.wavelengths == pytest.approx(NM)

    # A parameter of this name says nothing of the bands
    scipy.io.savemat(path, {"Y": CUBE, name: 0.1})
    assert open_image(path).wavelengths is None

    # Bands first, as the wavelengths tell
    scipy.io.savemat(path, {"Y": FIRST, name: NM})
    np.testing.assert_array_equal(open_image(path).pixels, FIRST)


def test_matlab_in_hdf5(tmp_path: Path) -> None:
    # Of version 7.3: axes reversed, after 512 bytes of its own
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "scene.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["Y"], file["wavelength"] = CUBE.T, NM[:, None]
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    np.testing.assert_array_equal(open_image(path).pixels, FIRST)
    assert open_image(path).wavelengths.tolist() == NM.tolist()
    np.testing.assert_array_equal(open_image(path, axis=0, wavelengths=NM[:3]).pixels, CUBE)


# NumPy


def test_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", CUBE)
    image = open_image(tmp_path / "scene.npy")
    np.testing.assert_array_equal(image.pixels, FIRST)
    assert isinstance(image.pixels, np.memmap)
    np.testing.assert_array_equal(open_image(tmp_path / "scene.npy", axis=0).pixels, CUBE)

    np.savez(tmp_path / "scene.npz", y=FIRST, wavelengths=NM, M=np.ones((4, 2)))
    image = open_image(str(tmp_path / "scene.npz"))
    np.testing.assert_array_equal(image.pixels, FIRST)
    assert image.wavelengths.tolist() == NM.tolist()

    np.savez(tmp_path / "scene.npz", y=FIRST, x=CUBE)
    np.testing.assert_array_equal(open_image(tmp_path / "scene.npz", variable="x").pixels, FIRST)
    with pytest.raises(ValueError, match=r"holds 2.*'y' \(4, 3, 5\), 'x' \(3, 5, 4\)"):
        open_image(tmp_path / "scene.npz")


class Trap:
    r"""Opens a file when unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_nothing_is_executed(tmp_path: Path) -> None:
    trap = Trap()
    trap.path = tmp_path / "sprung"
    array = np.array([[[trap]]], dtype=object)
    np.save(tmp_path / "scene.npy", array, allow_pickle=True)
    np.savez(tmp_path / "scene.npz", y=array)
    (tmp_path / "plain.npy").write_bytes(pickle.dumps(trap))
    for name in ("scene.npy", "scene.npz", "plain.npy"):
        with pytest.raises(ValueError, match=rf"{name}.*(pickle|objects|magic)"):
            open_image(tmp_path / name)
    assert not trap.path.exists()


def test_nothing_escapes(tmp_path: Path) -> None:
    # The names in an archive are names of arrays, and not of files
    content = io.BytesIO()
    np.save(content, CUBE)
    folder = tmp_path / "inner"
    folder.mkdir()
    with zipfile.ZipFile(folder / "scene.npz", "w") as archive:
        archive.writestr("../escaped.npy", content.getvalue())
        archive.writestr("/escaped.txt", b"text")
    with pytest.raises(ValueError, match=r"scene\.npz"):
        open_image(folder / "scene.npz")
    with zipfile.ZipFile(folder / "scene.npz", "w") as archive:
        archive.writestr("../escaped.npy", content.getvalue())
    np.testing.assert_array_equal(open_image(folder / "scene.npz").pixels, FIRST)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inner", "scene.npz"]


# Errors


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("scene.npy", np.ones((3, 4)), r"'the array' \(3, 4\)"),
        ("scene.npy", np.ones((3, 4, 5, 6)), r"\(3, 4, 5, 6\)"),
        ("scene.npy", np.ones((3, 4, 5), complex), "complex128"),
        ("scene.npy", np.full((3, 4, 5), "a"), "real numbers"),
        ("scene.npy", np.ones((3, 0, 5)), "shape"),
        ("scene.npy", b"", ""),
        ("scene.npz", b"", ""),
        ("scene.mat", b"", ""),
        ("scene.tif", b"", ""),
        ("scene.nc", b"", ""),
        ("scene.hdr", b"ENVI\n", "Beside a header"),
        ("scene.jpg", b"jpg", r"format should be one of ENVI.*NumPy"),
        ("scene.sli", b"", "read_library"),
        ("scene", b"", "format should be one of"),
    ],
)
def test_bad(tmp_path: Path, name: str, content: Any, message: str) -> None:
    for package in ("spectral", "rasterio", "h5py"):
        pytest.importorskip(package)
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(
        ValueError, match=rf"{name}' could not be opened as an image\. (?s:.)*{message}"
    ):
        open_image(path)


def test_bad_paths(tmp_path: Path) -> None:
    for path in (tmp_path / "no.npy", tmp_path, "http://host/x.tif", "/vsicurl/x.tif", "a\0.npy"):
        with pytest.raises(ValueError, match="could not be opened"):
            open_image(path)
    with pytest.raises(ValueError, match=r"no\.npy' .* There is no such file"):
        open_image(tmp_path / "no.npy")
    np.save(tmp_path / "scene.npy", CUBE)
    (tmp_path / "scene.tif").touch()
    with pytest.raises(ValueError, match="`variable` and `axis` are for files of MATLAB"):
        open_image(tmp_path / "scene.tif", axis=0)
    with pytest.raises(ValueError, match="red"):
        open_image(tmp_path / "scene.npy", wavelengths=["red"])


def test_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    (tmp_path / "scene.tif").touch()
    with pytest.raises(ValueError, match=r"scene\.tif.*'rasterio' is needed.*companion\[geo\]"):
        open_image(tmp_path / "scene.tif")


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".mat", ".tif"])
@damaging(120)
@given(data=st.data())
def test_any(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    r"""Tests that a damaged file gives an image or a ValueError."""
    path, whole = tmp_path / f"scene{suffix}", tmp_path / f"whole{suffix}"
    if not whole.exists():
        if suffix == ".npy":
            np.save(whole, CUBE)
        elif suffix == ".npz":
            np.savez_compressed(whole, y=CUBE, wavelengths=NM)
        elif suffix == ".mat":
            scipy.io.savemat(whole, {"y": CUBE, "wavelengths": NM}, do_compression=True)
        else:
            write_geotiff(whole, compress="deflate")
    path.write_bytes(damage(whole.read_bytes(), data))
    try:
        image = images.open_image(path)
    except ValueError as error:
        assert f"scene{suffix}" in str(error)
    else:
        assert image.pixels.ndim == 3
