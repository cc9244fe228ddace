r"""Tests for the smile_core.files.matlab module."""

import numpy as np
import pytest
import scipy.io
import struct
import zlib

from damage import damage, damaging
from hypothesis import given
from hypothesis import strategies as st
from pathlib import Path

from smile_core import data
from smile_core.files.matlab import read_arrays
from smile_core.scenes import SCENES

HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


@pytest.mark.parametrize("compressed", [False, True])
def test_as_another_library_writes(tmp_path: Path, compressed: bool) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        dtype: (100 * rng.random((2, 3, 4))).astype(dtype)
        for dtype in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")
    }
    arrays |= {
        "scalar": np.array([[3]]),
        "four_axes": np.ones((2, 1, 2, 5)),
        "none": np.ones((0, 3)),
    }
    arrays |= {"a_long_name_of_many_letters": np.eye(3), "complex": np.array([[1 + 2j, 3]])}
    others = {"text": "abc", "cells": np.array([1, "a"], dtype=object), "struct": {"x": 1.0}}
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, arrays | others, do_compression=compressed)
    read = read_arrays(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array, err_msg=name)


@pytest.mark.parametrize("name", [pytest.param(k, marks=pytest.mark.data(k)) for k in SCENES])
def test_as_another_library_reads(name: str) -> None:
    # Files that MATLAB has written
    for file in SCENES[name]:
        read, expected = read_arrays(data.find(file)), scipy.io.loadmat(data.find(file))
        assert read
        for key, array in expected.items():
            if getattr(array, "dtype", np.dtype(object)).kind in "iuf":
                np.testing.assert_array_equal(read[key], array)


def test_big_endian(tmp_path: Path) -> None:
    # By hand: flags, shape, a name in the short form, numbers of another type than the class
    parts = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 3)
    parts += struct.pack(">HH4s", 1, 1, b"y") + struct.pack(">IIhhhxx", 3, 6, 1, -2, 300)
    content = HEADER[:124] + b"\x01\x00MI" + struct.pack(">II", 14, len(parts)) + parts
    (tmp_path / "file.mat").write_bytes(content)
    [(name, array)] = read_arrays(tmp_path / "file.mat").items()
    assert name == "y"
    assert array.tolist() == [[1, -2, 300]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of MATLAB"),
        (b"MATLAB 5.0", "no file of MATLAB"),
        (HEADER + b"\0", "ends within"),
        (HEADER + struct.pack("<II", 14, 100), "100 bytes has 0"),
        (HEADER + struct.pack("<II", 15, 4) + b"text", "compressed element is broken"),
        (HEADER + struct.pack("<II", 15, 9) + zlib.compress(b"a"), "ends within"),
        (HEADER + struct.pack("<II", 14, 0), "ends within"),
    ],
)
def test_bad(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "file.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_arrays(tmp_path / "file.mat")


def test_bad_numbers(tmp_path: Path) -> None:
    # Those that end the process in another library: a type that there is not, another shape
    path = tmp_path / "file.mat"
    scipy.io.savemat(path, {"y": np.ones((2, 3))})
    whole = path.read_bytes()
    for old, new in [
        (struct.pack("<II", 9, 48), struct.pack("<II", 0, 48)),
        (struct.pack("<II", 9, 48), struct.pack("<II", 200, 48)),
        (struct.pack("<II", 9, 48), struct.pack("<II", 7, 48)),
        (struct.pack("<ii", 2, 3), struct.pack("<ii", 2, 4)),
        (struct.pack("<ii", 2, 3), struct.pack("<ii", -2, -3)),
        (struct.pack("<ii", 2, 3), struct.pack("<ii", 2**31 - 1, 2**31 - 1)),
    ]:
        assert whole.count(old) == 1
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(ValueError, match=r"An array of shape \(.* has 48 bytes of type"):
            read_arrays(path)


@pytest.mark.parametrize("compressed", [False, True])
@damaging(400)
@given(data=st.data())
def test_any(tmp_path: Path, compressed: bool, data: st.DataObject) -> None:
    r"""Tests that a damaged file gives arrays or a ValueError."""
    path, whole = tmp_path / "file.mat", tmp_path / "whole.mat"
    if not whole.exists():
        scipy.io.savemat(
            whole, {"y": np.ones((2, 3)), "c": np.array([[1j]])}, do_compression=compressed
        )
    path.write_bytes(damage(whole.read_bytes(), data, changes=3, first=124))
    try:
        arrays = read_arrays(path)
    except ValueError:
        return
    assert all(array.dtype.kind in "iufc" for array in arrays.values())
