r"""Tests for the smile_core.files.layouts module."""

import numpy as np
import pytest

from pathlib import Path

from smile_core.files.layouts import (
    bands_first,
    check_size,
    choose,
    find_vector,
    in_nanometres,
    need,
)


def test_need() -> None:
    assert need("json").loads("1") == 1
    with pytest.raises(
        ValueError, match=r"'nowhere' is needed.*pip install 'smile-companion\[geo"
    ):
        need("nowhere.at_all")


def test_choose() -> None:
    shapes = {"y": (3, 4, 5), "group/x": (7, 3, 4, 5), "M": (3, 2)}
    assert choose(shapes, None) == choose(shapes, "y") == choose(shapes, "/y") == "y"
    for variable in ("M", "group/x", "z"):
        with pytest.raises(ValueError, match=f"'{variable}' should be.*'y' .3, 4, 5., 'group/x'"):
            choose(shapes, variable)
    with pytest.raises(ValueError, match=r"holds 2, and the arrays are 'a' .1, 2, 3., 'b'"):
        choose({"a": (1, 2, 3), "b": (1, 2, 3)}, None)
    with pytest.raises(ValueError, match="holds 0, and the arrays are none"):
        choose({}, None)


def test_find_vector() -> None:
    # Neither a parameter of this name, nor what is as long as no axis, nor a table
    names, image = ("wavelength", "lambda"), (3, 4, 5)
    shapes = {"lambda": (1, 1), "wavelength": (7,), "a/Lambda": (4, 5), "b/waveLength": (1, 4)}
    assert find_vector(shapes, names, image) == "b/waveLength"
    assert find_vector(shapes, ("wl",), image) is None
    assert find_vector({}, names, image) is None


def test_bands_first() -> None:
    x = np.zeros((3, 4, 5))
    assert bands_first(x, None, None).shape == (5, 3, 4)
    assert bands_first(x, None, 0).shape == (3, 4, 5)
    assert bands_first(x, None, -2).shape == (4, 3, 5)

    # As many as there are wavelengths, last if in doubt
    for n, shape in ((3, (3, 4, 5)), (4, (4, 3, 5)), (5, (5, 3, 4))):
        assert bands_first(x, np.arange(n), None).shape == shape
    assert bands_first(np.zeros((3, 4, 3)), np.arange(3), None).shape == (3, 3, 4)
    with pytest.raises(ValueError, match=r"6 bands of the wavelengths, got shape \(3, 4, 5\)"):
        bands_first(x, np.arange(6), None)
    with pytest.raises(ValueError, match="0, 1 or 2, got 3"):
        bands_first(x, None, 3)


@pytest.mark.parametrize(
    ("wavelength", "unit", "expected"),
    [
        (0.5, "Micrometers", 500.0),
        (0.5, "um", 500.0),
        (0.5, "µm", 500.0),
        (0.5, "", 500.0),
        (0.5, "Unknown", 500.0),
        (500.0, "", 500.0),
        (500.0, "Nanometers", 500.0),
        (50.0, "nm", 50.0),
        (500.0, "um", 500000.0),
    ],
)
def test_in_nanometres(wavelength: float, unit: str, expected: float) -> None:
    assert in_nanometres(np.array([wavelength]), unit).tolist() == [expected]


def test_check_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    check_size(path, (10, 10, 100), np.dtype("f4"))
    with pytest.raises(ValueError, match="which the 100 bytes of the file cannot hold"):
        check_size(path, (10, 10, 10**30), np.dtype("f4"))
