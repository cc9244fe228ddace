r"""Tests for the smile_core.files.image module."""

import numpy as np
import pytest
import torch

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pathlib import Path
from typing import Any

from smile_core.files import image as module
from smile_core.files.image import Image, Place, prepare

PATH = Path("scene.hdr")


def make_image(pixels: Any = None, **known: Any) -> Image:
    r"""Makes an image whose number at (band, row, col) is 100 band + 10 row + col + 1."""
    if pixels is None:
        pixels = np.add.outer(
            np.arange(4) * 100, np.add.outer(np.arange(2) * 10, np.arange(3) + 1)
        )
    return Image(np.asarray(pixels), PATH, **known)


def test_place() -> None:
    # A rotated one: coordinates of the same point, in pixels of either image, are the same
    place = Place((3.0, 0.5, 100.0, 0.4, -2.0, 200.0), "EPSG:32610")

    def at(place: Place, col: float, row: float) -> tuple[float, float]:
        a, b, c, d, e, f = place.transform
        return a * col + b * row + c, d * col + e * row + f

    assert at(place.finer(4), 8, 12) == pytest.approx(at(place, 2, 3))
    assert at(place.finer(4), 0, 0) == at(place, 0, 0)
    assert at(place.crop(3, 2), 5, 7) == pytest.approx(at(place, 7, 10))
    assert place.finer(4).crs == place.crop(3, 2).crs == "EPSG:32610"


def test_scaled() -> None:
    gains, offsets = np.array([1.0, 0.5, 2.0, 0.1]), np.array([0.0, 1.0, -3.0, 0.0])
    prepared = prepare(make_image(gains=gains, offsets=offsets))

    # Number 312 of band 3 at row 1, column 1
    assert prepared.cube.shape == (4, 2, 3)
    assert prepared.cube.dtype == torch.float32
    assert prepared.cube[3, 1, 1] == pytest.approx(31.2)
    assert prepared.cube[2, 0, 2] == 2.0 * 203 - 3.0
    assert prepared.bands.tolist() == [0, 1, 2, 3]
    assert prepared.wavelengths is None
    assert "4 of 4 bands are used." in prepared.message
    assert "Wavelengths are unknown" in prepared.message


def test_bands() -> None:
    # Not sorted; one marked, one in each window, the edges included, one twice, one dark
    nm = [600, 500, 1340, 1900, 2451, 400, 500, 700, 800]
    pixels = np.ones((9, 2, 3)) * np.arange(1, 10)[:, None, None]
    pixels[7] = 0
    good = np.arange(9) != 8
    prepared = prepare(make_image(pixels, wavelengths=np.array(nm), good=good))

    assert prepared.bands.tolist() == [5, 1, 0]
    assert prepared.wavelengths.tolist() == [400.0, 500.0, 600.0]
    assert prepared.cube[:, 0, 0].tolist() == [6.0, 2.0, 1.0]
    assert prepared.message == (
        "3 of 9 bands are used; left out: 1 marked as bad in the file, 1 in water vapour (1340 to "
        "1445 nm), 1 in water vapour (1790 to 1955 nm), 1 in water vapour (beyond 2450 nm), 1 "
        "with the wavelength of another, 1 without any number but zero."
    )

    # Other windows
    prepared = prepare(make_image(pixels, wavelengths=np.array(nm)), windows=[(0, 550)])
    assert prepared.bands.tolist() == [0, 8, 2, 3, 4]


@pytest.mark.parametrize("dtype", ["int16", "uint16", ">i4", "float32", "float64"])
def test_no_data(dtype: str) -> None:
    pixels = make_image().pixels.astype(dtype)
    pixels[:, 0, 1] = 9999
    pixels[2, 1, 2] = 9999
    prepared = prepare(make_image(pixels, no_data=9999.0))

    dead = torch.zeros(2, 3, dtype=torch.bool)
    dead[0, 1] = dead[1, 2] = True
    assert torch.equal(prepared.cube.sum(dim=0) == 0, dead)
    assert "2 of 6 pixels have no data." in prepared.message
    assert torch.equal(prepared.cube[:, 1, 1], torch.tensor([12.0, 112.0, 212.0, 312.0]))


def test_no_data_is_zero() -> None:
    # A dark pixel is zero in a band; no data are zero in all
    pixels = make_image().pixels
    pixels[:, 0, 0], pixels[1, 1, 1] = 0, 0
    prepared = prepare(make_image(pixels, no_data=0.0, offsets=np.ones(4)))
    assert prepared.cube[:, 0, 0].tolist() == [0.0] * 4
    assert prepared.cube[:, 1, 1].tolist() == [13.0, 1.0, 213.0, 313.0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_not_finite(value: float) -> None:
    pixels = make_image().pixels.astype(float)
    pixels[1, 0, 2] = value
    pixels[3] = np.nan  # of a whole band, which does not cost all pixels
    prepared = prepare(make_image(pixels))

    assert prepared.bands.tolist() == [0, 1, 2]
    assert torch.nonzero(prepared.cube.sum(dim=0) == 0).tolist() == [[0, 2]]
    assert prepared.cube.isfinite().all()


def test_signalling_nan() -> None:
    # Which a conversion of numbers complains of
    pixels = make_image().pixels.astype(np.float32)
    pixels.view(np.uint32)[1, 0, 2] = 0x7FA00000
    prepared = prepare(make_image(pixels))
    assert torch.nonzero(prepared.cube.sum(dim=0) == 0).tolist() == [[0, 2]]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_no_data_out_of_range(dtype: str) -> None:
    pixels = make_image().pixels % 7 + 1
    prepared = prepare(make_image(pixels.astype(dtype), no_data=1e300))
    torch.testing.assert_close(prepared.cube, torch.from_numpy(pixels).float())


def test_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 5, (6, 7, 5))
    image = make_image(pixels, no_data=4.0)
    whole = prepare(image)
    for block in (1, 60, 1000):
        monkeypatch.setattr(module, "BLOCK", block)
        prepared = prepare(image)
        assert torch.equal(prepared.cube, whole.cube)
        assert prepared.message == whole.message


def test_crop() -> None:
    image = make_image(place=Place((2.0, 0.0, 100.0, 0.0, -2.0, 50.0)))
    part = image.crop(1, 2, (1, 1))
    assert part.pixels[0].tolist() == [[12, 13]]
    assert part.place.transform == (2.0, 0.0, 102.0, 0.0, -2.0, 48.0)
    assert image.crop(2, 1).pixels[0].tolist() == [[2], [12]]
    assert make_image().crop(1, 1).place is None
    for rows, cols, at in [(3, 1, None), (0, 1, None), (1, 1, (2, 0)), (1, 1, (-1, 0))]:
        with pytest.raises(ValueError, match="does not fit in an image of 2 x 3 pixels"):
            image.crop(rows, cols, at)


def test_colours() -> None:
    # Bands near 650, 550 and 450 nm, as numbers 3, 2, 1; one of infrared alone has false colours
    pixels = np.stack([k * np.linspace(1, 2, 100).reshape(10, 10) for k in (1, 2, 3, 9)])
    rgb = prepare(make_image(pixels, wavelengths=np.array([450, 550, 650, 900]))).rgb
    assert rgb.shape == (10, 10, 3)
    assert (rgb[5, 5].diff() < 0).all()
    for known in ({}, {"wavelengths": np.array([1000, 1100, 1200, 1300])}):
        rgb = prepare(make_image(pixels, **known)).rgb
        assert rgb[5, 5, 0] > rgb[5, 5, 2]


def test_repr() -> None:
    nm = np.array([400.0, 0.0, 500.0, 1700.0])
    image = make_image(wavelengths=nm, good=nm > 0, place=Place((1, 0, 0, 0, -1, 5), "EPSG:32610"))
    expected = "Image(scene.hdr: 4 bands from 400 to 1700 nm, 2 x 3 pixels, int64, EPSG:32610)"
    assert repr(image) == expected
    assert "no place on the map" in repr(make_image())


@pytest.mark.parametrize(
    ("known", "message"),
    [
        ({"pixels": np.ones((3, 4))}, r"shape \(bands, rows, cols\), got float64 with .*\(3, 4\)"),
        ({"pixels": np.ones((0, 3, 4))}, "shape"),
        ({"pixels": np.ones((2, 3, 4), complex)}, "real numbers.*complex128"),
        ({"pixels": np.full((2, 3, 4), None)}, "real numbers.*object"),
        ({"wavelengths": np.arange(1.0, 4.0)}, r"wavelengths should be 4 finite.*\(3,\)"),
        ({"wavelengths": np.array([1.0, 2.0, np.nan, 4.0])}, "1 that are not finite"),
        ({"wavelengths": np.array([-1.0, 2.0, 3.0, 4.0])}, "positive, got -1"),
        ({"gains": np.zeros(4)}, "gain of zero"),
        ({"names": ("a", "b")}, "4 names of bands, got 2"),
    ],
)
def test_bad(known: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_image(**known)


def test_nothing_left() -> None:
    with pytest.raises(ValueError, match=r"scene\.hdr.*0 of 4 .*4 marked as bad"):
        prepare(make_image(good=np.zeros(4)))
    with pytest.raises(ValueError, match="4 without any number but zero"):
        prepare(make_image(np.zeros((4, 2, 3))))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any(data: st.DataObject) -> None:
    r"""Tests that there is an image without NaN, or a ValueError."""
    dtype = data.draw(st.sampled_from(["u1", "<i2", ">u2", "i8", "u8", "<f2", ">f4", "f8"]))
    shape = data.draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=4))
    pixels = data.draw(hnp.arrays(dtype, shape)).transpose(data.draw(st.permutations(range(3))))
    band = hnp.arrays(float, len(pixels), elements=st.floats(-1e4, 1e4))
    options = {
        key: data.draw(st.none() | band) for key in ("wavelengths", "good", "gains", "offsets")
    }
    pixels.flags.writeable = data.draw(st.booleans())
    try:
        no_data = data.draw(st.none() | st.floats())
        prepared = prepare(make_image(pixels, no_data=no_data, **options))
    except ValueError:
        return

    assert prepared.cube.isfinite().all()
    assert prepared.cube.shape == (len(prepared.bands), *pixels.shape[1:])
    if prepared.wavelengths is not None:
        assert (prepared.wavelengths.diff() >= 0).all()
