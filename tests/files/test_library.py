r"""Tests for the smile_core.files.library module."""

import numpy as np
import pytest
import scipy.io
import torch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pathlib import Path

from smile_core import data, scenes
from smile_core.files.library import Library, name_endmembers, read_library

# Rises, falls, has a dip, and is level
NM = np.linspace(400.0, 1000.0, 61)
SPECTRA = np.stack([NM, 1400 - NM, 600 - 500 * np.exp(-(((NM - 700) / 60) ** 2)), 0 * NM + 500], 1)
LIBRARY = Library(SPECTRA, NM, ("rises", "falls", "dips", "level"))


def write_envi(path: Path, library: Library) -> None:
    envi = pytest.importorskip("spectral.io.envi")
    header = {"wavelength": (library.wavelengths / 1e3).tolist(), "spectra names": library.names}
    header["wavelength units"] = "Micrometers"
    envi.SpectralLibrary(library.spectra.T, header).save(str(path.with_suffix("")))


def test_finds_itself() -> None:
    # Resampled to other bands, in another unit, from dark to bright
    nm = np.array([431.0, 480.0, 555.0, 640.0, 700.0, 702.0, 777.0, 901.0, 985.0])
    M = np.stack([10.0**k * np.interp(nm, NM, SPECTRA[:, k]) for k in range(4)], 1)
    table = name_endmembers(torch.from_numpy(M).float(), nm, LIBRARY, n=2)
    assert list(table) == ["endmember", "rank", "name", "angle", "bands"]
    assert table.endmember.tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert table["rank"].tolist() == [1, 2] * 4
    assert (table.bands == 9).all()
    first = table[table["rank"] == 1]
    assert tuple(first.name) == LIBRARY.names
    assert (first.angle < 1e-6).all()
    assert (table[table["rank"] == 2].angle > 0.05).all()

    # By the angle, in radians
    x, y = np.interp(nm, NM, SPECTRA[:, 3]), np.interp(nm, NM, SPECTRA[:, 0])
    expected = np.arccos(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    whole = name_endmembers(torch.from_numpy(M[:, 3:]), nm, LIBRARY, n=9)
    assert len(whole) == 4
    assert whole.angle.is_monotonic_increasing
    assert whole.set_index("name").angle["rises"] == pytest.approx(expected, abs=1e-9)

    # In any order
    order = np.random.default_rng(0).permutation(len(nm))
    again = name_endmembers(torch.from_numpy(M[order, 3:]), nm[order], LIBRARY, n=9)
    np.testing.assert_allclose(again.angle, whole.angle, atol=1e-12)


def test_missing_bands() -> None:
    # Bands that the library lacks may hold anything
    nm = np.append(NM, [350.0, 1200.0, 2200.0])
    M = np.append(SPECTRA, np.full((3, 4), 1e6), axis=0)
    table = name_endmembers(torch.from_numpy(M), nm, LIBRARY, n=1)
    assert tuple(table.name) == LIBRARY.names
    assert (table.angle < 1e-7).all()
    assert (table.bands == 61).all()

    # So may those in a gap of one spectrum, or of all: nothing is interpolated there
    for columns in ([2], [0, 1, 2, 3]):
        spectra, M = SPECTRA.copy(), SPECTRA.copy()
        spectra[20:26, columns] = np.nan
        M[20:26] = 1e6
        table = name_endmembers(
            torch.from_numpy(M[:, columns]), NM, Library(spectra, NM, LIBRARY.names), n=1
        )
        assert table.name.tolist() == [LIBRARY.names[k] for k in columns]
        assert (table.bands == 55).all()
        assert (table.angle < 1e-7).all()

    # A spectrum of a few bands is near to anything, and out
    spectra = SPECTRA.copy()
    spectra[3:, 3] = np.nan
    table = name_endmembers(
        torch.from_numpy(SPECTRA), NM, Library(spectra, NM, LIBRARY.names), n=4
    )
    assert "level" not in set(table.name)
    assert len(table) == 12


def test_formats(tmp_path: Path) -> None:
    write_envi(tmp_path / "lib.sli", LIBRARY)
    rows = "\n".join(",".join(map(repr, row)) for row in np.c_[NM, SPECTRA].tolist())
    (tmp_path / "lib.csv").write_text(f"wavelength (nm),{','.join(LIBRARY.names)}\n{rows}\n")
    for name in ("lib.sli", "lib.hdr", "lib.csv"):
        library = read_library(str(tmp_path / name))
        assert library.names == LIBRARY.names
        np.testing.assert_allclose(library.wavelengths, NM)
        np.testing.assert_allclose(library.spectra, SPECTRA, rtol=1e-6)
    assert repr(library) == "Library(4 spectra from 400 to 1000 nm)"

    # Micrometres, not sorted, with values deleted and left out
    (tmp_path / "lib.csv").write_text("um,a,b\n2.5,-1.23e34,3\n0.4,,5\n1.4,6,7\n")
    library = read_library(tmp_path / "lib.csv")
    assert library.wavelengths == pytest.approx([400.0, 1400.0, 2500.0])
    np.testing.assert_array_equal(library.spectra, [[np.nan, 5], [6, 7], [np.nan, 3]])


@pytest.mark.data("dc1")
def test_usgs() -> None:
    # The endmembers of DC1 are five of its spectra, whose names begin with the materials
    scene = scenes.load("dc1")
    library = read_library(data.find("library_usgs1995.mat"))
    np.testing.assert_array_equal(read_library("usgs").spectra, library.spectra)
    assert len(library.names) == 498
    assert (np.diff(library.wavelengths) > 0).all()
    table = name_endmembers(0.01 * scene.M, scene.wavelengths, library)
    first = table[table["rank"] == 1]
    assert [name.split()[0].lower() for name in first.name] == list(scene.materials)
    assert (first.angle < 1e-6).all()
    assert (first.bands == 224).all()

    # Every other band, and less of them
    table = name_endmembers(scene.M[10:200:2], scene.wavelengths[10:200:2], library, n=1)
    assert [name.split()[0].lower() for name in table.name] == list(scene.materials)


def test_earthlib() -> None:
    # The synthetic scene is made of its spectra
    scene = scenes.load("synthetic")
    library = read_library("earthlib")
    assert len(library.names) == 7261
    table = name_endmembers(scene.M, scene.wavelengths, library, n=1)
    assert (table.angle < 1e-6).all()
    for material, name in zip(scene.materials, table.name, strict=True):
        assert name.startswith(material.split()[0])
        assert ("(simulated)" in name) == ("(simulated)" in material)


@pytest.mark.data("samson", "dc1")
def test_samson() -> None:
    # Trees look like leaves and grass
    scene = scenes.load("samson")
    library = read_library(data.find("library_usgs1995.mat"))
    tree = scene.materials.index("tree")
    table = name_endmembers(scene.M[:, [tree]], scene.wavelengths, library)
    assert table.name.str.contains("Leaves|leavs|Grass").all()


def test_bad_arguments() -> None:
    M = torch.from_numpy(SPECTRA)
    with pytest.raises(ValueError, match=r"one wavelength .* got \(60,\) for \(61, 4\)"):
        name_endmembers(M, NM[1:], LIBRARY)
    with pytest.raises(ValueError, match="positive, got 0"):
        name_endmembers(M, NM, LIBRARY, n=0)
    with pytest.raises(ValueError, match="finite"):
        name_endmembers(M.log() - torch.inf, NM, LIBRARY)
    with pytest.raises(
        ValueError, match=r"from 2000 to 2600 nm share fewer than two .*400 to 1000"
    ):
        name_endmembers(M, NM + 1600, LIBRARY)
    with pytest.raises(ValueError, match=r"shape \(61, 3\), .* got \(61, 4\)"):
        Library(SPECTRA, NM, ("a", "b", "c"))
    with pytest.raises(ValueError, match="positive and finite"):
        Library(SPECTRA, NM - 400, LIBRARY.names)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lib.csv", "wavelength,a\n400,red\n", "red"),
        ("lib.csv", "wavelength\n400\n", "two columns or more, got 1"),
        ("lib.csv", "wavelength,a\n", "shape"),
        ("lib.csv", "wavelength,a\n-400,1\n", "positive and finite"),
        ("lib.csv", "", ""),
        ("lib.txt", "400 1", r"should be a file \.sli"),
        ("lib.mat", "text", ""),
        ("lib.sli", "text", "header"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(
        ValueError, match=rf"(?s){name}' could not be read as spectra\..*{message}"
    ):
        read_library(tmp_path / name)


def test_other_files(tmp_path: Path) -> None:
    envi = pytest.importorskip("spectral.io.envi")
    with pytest.raises(ValueError, match=r"no\.csv.*There is no such file"):
        read_library(tmp_path / "no.csv")
    scipy.io.savemat(tmp_path / "lib.mat", {"datalib": SPECTRA})
    with pytest.raises(ValueError, match="variables 'datalib' and 'names'"):
        read_library(tmp_path / "lib.mat")
    envi.save_image(str(tmp_path / "scene.hdr"), np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match="It is an image"):
        read_library(tmp_path / "scene.hdr")
    envi.SpectralLibrary(SPECTRA.T, {}).save(str(tmp_path / "lib"))
    with pytest.raises(ValueError, match="should list wavelengths"):
        read_library(tmp_path / "lib.sli")
    write_envi(tmp_path / "lib.sli", LIBRARY)
    (tmp_path / "lib.sli").write_bytes((tmp_path / "lib.sli").read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"lib\.sli"):
        read_library(tmp_path / "lib.sli")


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(st.sampled_from("0123456789.,-e\n\"' naµ\0"), max_size=60))
def test_any(tmp_path: Path, text: str) -> None:
    r"""Tests that a table gives a library or a ValueError."""
    (tmp_path / "lib.csv").write_text("nm,a\n" + text, "utf-8")
    try:
        library = read_library(tmp_path / "lib.csv")
    except ValueError as error:
        assert "lib.csv" in str(error)
    else:
        assert (np.diff(library.wavelengths) >= 0).all()
