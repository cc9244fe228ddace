r"""Tests for the smile_core.mapped module."""

import numpy as np
import pickle
import pytest

from pathlib import Path

from smile_core.mapped import Mapped


@pytest.mark.parametrize("dtype", [">i2", "<f4", "u1"])
def test_views(dtype: str, tmp_path: Path) -> None:
    r"""Tests views of all kinds, sent and mapped again, against NumPy."""
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7).astype(dtype)
    (tmp_path / "raw").write_bytes(b"header of 19 bytes!" + array.tobytes())
    raw = np.memmap(tmp_path / "raw", dtype, mode="r", offset=19, shape=(5, 6, 7))
    np.save(tmp_path / "image.npy", array)
    for whole in (raw, np.load(tmp_path / "image.npy", mmap_mode="r")):
        for view in (
            lambda x: x,
            lambda x: x.transpose(2, 0, 1),
            lambda x: x[::-1, 1:4, ::2],
            lambda x: np.asarray(x).swapaxes(0, 1)[2:],
        ):
            sent = pickle.dumps(Mapped(view(whole)))
            again = pickle.loads(sent)
            expected = view(array)
            assert again.shape == expected.shape and again.dtype == expected.dtype
            assert (len(again), again.ndim, again.size) == (len(expected), 3, expected.size)
            np.testing.assert_array_equal(again[:], expected)
            np.testing.assert_array_equal(again[1:, 0], expected[1:, 0])


def test_small(tmp_path: Path) -> None:
    r"""Tests that what is sent does not hold the numbers, before and after they were looked at."""
    np.save(tmp_path / "image.npy", np.zeros(10**6))
    mapped = Mapped(np.load(tmp_path / "image.npy", mmap_mode="r"))
    assert len(pickle.dumps(mapped)) < 1000 and mapped[:].sum() == 0
    assert len(pickle.dumps(mapped)) < 1000


@pytest.mark.parametrize("array", [np.zeros(3), np.frombuffer(b"1234", "u1")])
def test_not_mapped(array: np.ndarray) -> None:
    r"""Tests that an array in memory is refused, and what to do is said."""
    with pytest.raises(ValueError, match=r"should be mapped to a file, as by np\.load"):
        Mapped(array)
