r"""Tests for the smile_core.files.envi module."""

import math
import numpy as np
import pytest

from damage import damaging
from hypothesis import given
from hypothesis import strategies as st
from pathlib import Path
from typing import Any

from smile_core.files.envi import describe_place, find_pair
from smile_core.files.image import Image, Place, prepare
from smile_core.files.images import open_image

envi = pytest.importorskip("spectral.io.envi")

CUBE = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4) - 5  # bands, rows, cols

HEADER = """ENVI
samples = 4
lines = 3
bands = 2
header offset = 0
file type = ENVI Standard
data type = 2
interleave = bsq
byte order = 0
"""


def write(folder: Path, header: str = HEADER, content: bytes | None = None) -> Path:
    (folder / "scene.img").write_bytes(
        CUBE.astype("<i2").tobytes() if content is None else content
    )
    (folder / "scene.hdr").write_text(header)
    return folder / "scene.hdr"


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", "uint16"])
def test_layouts(tmp_path: Path, interleave: str, order: str, dtype: str) -> None:
    # As another library writes them
    cube = (CUBE + 5).astype(dtype)
    path = tmp_path / "scene.hdr"
    options = {"dtype": dtype, "interleave": interleave, "byteorder": order}
    envi.save_image(str(path), np.moveaxis(cube, 0, -1), **options)
    image = open_image(path)
    np.testing.assert_array_equal(image.pixels, cube)

    # Mapped, not read
    base: Any = image.pixels
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not image.pixels.flags.writeable


def test_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        HEADER
        + "wavelength units = Micrometers\nwavelength = {0.5,\n 1.4}\nbbl = {1, 0}\n"
        + "reflectance scale factor = 10000\ndata ignore value = -5\n"
        + "band names = {green, infrared}\n",
    )
    image = open_image(path)
    assert image.wavelengths.tolist() == [500.0, 1400.0]
    assert image.good.tolist() == [True, False]
    assert image.gains.tolist() == [1e-4, 1e-4]
    assert image.no_data == -5.0
    assert image.names == ("green", "infrared")
    assert image.place is None
    prepared = prepare(image)
    np.testing.assert_allclose(prepared.cube[0], np.where(CUBE[0] == -5, 0, CUBE[0] / 1e4))

    # Calibrated band by band; names with commas are none; a band that is one has no braces
    path = write(
        tmp_path,
        HEADER + "data gain values = {2, 3}\ndata offset values = {0, 1}\nband names = {a,b,c}\n",
    )
    image = open_image(path)
    assert (image.gains.tolist(), image.offsets.tolist()) == ([2.0, 3.0], [0.0, 1.0])
    assert image.names == ()
    path = write(tmp_path, HEADER.replace("bands = 2", "bands = 1") + "wavelength = 650\n")
    assert open_image(path).wavelengths.tolist() == [650.0]


def test_headers_of_others(tmp_path: Path) -> None:
    # In capitals, with comments, without spaces, in an encoding of its own
    text = HEADER.replace("data type = 2", "Data Type=2").replace("= bsq", "= BSQ")
    text += "; wavelength = {1, 2}\nWavelength Units = Nanometers\nWavelength={\n500\n,600,}\n"
    path = write(tmp_path)
    path.write_bytes(text.encode() + "description = {5 µm = 5000 nm, Böblingen}".encode("latin-1"))
    image = open_image(path)
    np.testing.assert_array_equal(image.pixels, CUBE)
    assert image.wavelengths.tolist() == [500.0, 600.0]


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("a.hdr", "a"),
        ("a.hdr", "a.img"),
        ("a.img.hdr", "a.img"),
        ("a.hdr", "a.BSQ"),
        ("a.HDR", "a.dat"),
        ("a.b.hdr", "a.b"),
    ],
)
def test_pairs(tmp_path: Path, header: str, data: str) -> None:
    path = write(tmp_path)
    path.rename(tmp_path / header)
    path.with_suffix(".img").rename(tmp_path / data)
    pair = (tmp_path / header, tmp_path / data)
    assert find_pair(pair[0]) == find_pair(pair[1]) == pair
    np.testing.assert_array_equal(open_image(pair[1]).pixels, CUBE)


MAPS = [
    "{UTM, 1, 1, 612730.5, 4074488.25, 30, 30, 10, North, WGS-84, units=Meters}",
    "{UTM, 2.5, 4, 300000, 6200000, 5, 5, 55, South, WGS-84, units=Meters}",
    "{UTM, 1, 1, 612730, 4074488, 4, 4, 11, North, WGS-84, units=Meters, rotation=24}",
    "{Geographic Lat/Lon, 1.5, 1.5, -117.2, 37.5, 0.0005, 0.0004, WGS-84, units=Degrees}",
]


@pytest.mark.parametrize("info", MAPS)
def test_place(tmp_path: Path, info: str) -> None:
    rasterio = pytest.importorskip("rasterio")

    # Another library reads the same place from the header
    path = write(tmp_path, HEADER + f"map info = {info}\n")
    image = open_image(path)
    with rasterio.open(path.with_suffix(".img")) as file:
        assert image.place.transform == pytest.approx(file.transform[:6], rel=1e-9)
        assert rasterio.crs.CRS.from_string(image.place.crs) == file.crs

    # What we say of it is read as the same place
    fields = describe_place(image.place)
    again = write(tmp_path, HEADER + f"map info = {{{', '.join(fields['map info'])}}}\n")
    place = open_image(again).place
    assert place.transform == pytest.approx(image.place.transform)
    assert place.crs == image.place.crs

    # So is that of finer pixels
    fields = describe_place(image.place.finer(2))
    again = write(tmp_path, HEADER + f"map info = {{{', '.join(fields['map info'])}}}\n")
    assert open_image(again).place.transform == pytest.approx(image.place.finer(2).transform)


def test_place_without_header() -> None:
    # Of an image in another format
    angle = math.radians(20)
    turned = (3 * math.cos(angle), 3 * math.sin(angle), 5.0)
    turned += (3 * math.sin(angle), -3 * math.cos(angle), 7.0)
    info = describe_place(Place(turned, "EPSG:32733"))["map info"]
    expected = ["UTM", "1", "1", "5.0", "7.0", "3.0", "3.0", "33", "South", "WGS-84"]
    assert info == [*expected, "units=Meters", "rotation=20"]
    assert describe_place(Place((1, 0, 0, 0, -1, 0)))["map info"][0] == "Arbitrary"

    # Upside down, sheared
    for transform in [(1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.5, 0.0, 0.0, -1.0, 0.0)]:
        with pytest.raises(ValueError, match=r"sheared or upside down.*GeoTIFF"):
            describe_place(Place(transform))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("samples = 4", "samples = 5", r"\(2, 3, 5\), that is 60 bytes, and 'scene.img' has 48"),
        ("samples = 4", "samples = 0", r"\(2, 3, 0\)"),
        ("samples = 4", "samples = -4", r"\(2, 3, -4\)"),
        ("samples = 4", "samples = 99999999999999999999", "announces"),
        ("samples = 4", "samples = four", "four"),
        ("samples = 4\n", "", "header lacks samples"),
        ("header offset = 0", "header offset = 8", "56 bytes"),
        ("header offset = 0", "header offset = -8", "announces"),
        ("data type = 2", "data type = 6", "announces"),
        ("data type = 2", "data type = 77", "type 77"),
        ("interleave = bsq", "interleave = tiled", "bsq, bil or bip.*tiled"),
        ("byte order = 0", "byte order = 2", "byte order 0 or 1"),
        ("byte order = 0", "wavelength = {1, 2, 3}\nbyte order = 0", r"2 finite.*\(3,\)"),
        ("byte order = 0", "wavelength = {1, red}\nbyte order = 0", "red"),
        ("byte order = 0", "wavelength = {1, nan}\nbyte order = 0", "not finite"),
        ("byte order = 0", "byte order = 0\nwavelength = {1, 2", "'wavelength' .* do not close"),
        ("byte order = 0", "bbl = {1}\nbyte order = 0", "good should be 2"),
        ("byte order = 0", "reflectance scale factor = 0\nbyte order = 0", "positive, got 0"),
        ("byte order = 0", "file compression = 1\nbyte order = 0", "compressed"),
        ("byte order = 0", "map info = {UTM, a, b, c, d, e, f}\nbyte order = 0", "'a'"),
        ("ENVI Standard", "ENVI Spectral Library", "read_library"),
        ("ENVI\n", "IVNE\n", "should begin with 'ENVI'"),
    ],
)
def test_bad_header(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write(tmp_path, HEADER.replace(old, new, 1))
    with pytest.raises(ValueError, match=rf"(?s)scene\.hdr' could not be opened.*{message}"):
        open_image(path)


def test_missing(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.with_suffix(".img").unlink()
    with pytest.raises(ValueError, match=r"Beside a header of ENVI should lie its data"):
        open_image(path)
    path.unlink()
    path.with_suffix(".img").write_bytes(b"0")
    with pytest.raises(ValueError, match=r"header 'scene.hdr' or 'scene.img.hdr'.*missing"):
        open_image(path.with_suffix(".img"))


@damaging(300)
@given(st.data())
def test_any(tmp_path: Path, data: st.DataObject) -> None:
    r"""Tests that a changed header or data give an image or a ValueError."""
    lines = [*HEADER.splitlines()[1:], "wavelength = {500, 600}", f"map info = {MAPS[0]}"]
    value = st.sampled_from(["-1", "0", "1", "1e9", "{", "}", "{1,2}", "nan", "µ", "", "=", "4"])
    for _ in range(data.draw(st.integers(1, 3))):
        k = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["drop", "twice", "cut", "value"]))
        if change == "drop" and len(lines) > 1:
            del lines[k]
        elif change == "twice":
            lines.insert(k, lines[k])
        elif change == "cut":
            lines[k] = lines[k][: data.draw(st.integers(0, len(lines[k])))]
        else:
            lines[k] = f"{lines[k].partition('=')[0]}= {data.draw(value)}"
    content = CUBE.tobytes()[: data.draw(st.sampled_from([0, 1, 47, 48]))]
    path = write(tmp_path, "ENVI\n" + "\n".join(lines) + "\n", content)
    try:
        image = open_image(path)
    except ValueError as error:
        assert "scene.hdr" in str(error)
    else:
        assert isinstance(image, Image)
        assert np.isfinite(np.asarray(image.pixels)).all()
