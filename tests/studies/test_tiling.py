r"""Tests for the smile_core.studies.tiling module."""

import numpy as np
import pytest

from pathlib import Path

from smile_core.studies.tiling import draw_image, tiled


def test_draw_image(tmp_path: Path) -> None:
    r"""Tests that, up to the noise that was asked for, the image is what its truth says."""
    M, a = draw_image(tmp_path / "image.npy", 70, 200, 3, snr=20.0, seed=1)
    image = np.load(tmp_path / "image.npy")
    assert image.shape == (200, 70, 70) and M.shape == (200, 3) and image.dtype == np.float32
    np.testing.assert_allclose(a.sum(axis=0), 1)
    mixed = np.tensordot(M, a, 1)
    snr = 10 * np.log10(np.square(mixed).mean() / np.square(image - mixed).mean())
    assert snr == pytest.approx(20, abs=1.0)
    assert a.max(axis=(1, 2)).min() > 0.99
    again = draw_image(tmp_path / "again.npy", 70, 200, 3, snr=20.0, seed=1)[1]
    assert np.array_equal(a, again)


def test_tiled() -> None:
    r"""Tests that tiles unmix such an image well, by the truth, and what is said of its size."""
    row = tiled(70, bands=60, tile=40, sample=2048, restarts=3, steps=5)
    assert row["megabytes"] == pytest.approx(70 * 70 * 60 * 4e-6, rel=0.01)
    assert row["sad"] < 0.1 and row["lr"] < 0.1
    assert row["seconds"] > 0 and (row["memory"] is None or row["memory"] > 10)
