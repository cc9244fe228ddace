r"""Tests for the smile_core.files.products module."""

import numpy as np
import pytest

from damage import damage, damaging
from hypothesis import given
from hypothesis import strategies as st
from pathlib import Path
from typing import Any

from smile_core.files.image import prepare
from smile_core.files.images import open_image

h5py = pytest.importorskip("h5py")

# Number at (row, col, band)
CUBE = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) / 24 + 0.1

VNIR = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_Cube"
SWIR = "HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/SWIR_Cube"


def test_emit(tmp_path: Path) -> None:
    # As its files are laid out, written by another library
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path, dims = tmp_path / "EMIT_L2A_RFL_001.nc", ("downtrack", "crosstrack", "bands")
    cube = CUBE.copy()
    cube[1, 2] = np.nan
    root = xarray.Dataset({"reflectance": (dims, cube)}, attrs={"geotransform": [0.0] * 6})
    root.to_netcdf(path, engine="h5netcdf", encoding={"reflectance": {"_FillValue": -9999.0}})
    bands = xarray.Dataset(
        {
            "wavelengths": ("bands", np.float32([381.0, 388.5, 1400.0, 2200.0]), {"units": "nm"}),
            "fwhm": ("bands", np.float32([8.0, 8.0, 8.0, 8.0])),
            "good_wavelengths": ("bands", np.float32([1, 0, 1, 1])),
        }
    )
    bands.to_netcdf(path, engine="h5netcdf", group="sensor_band_parameters", mode="a")
    place = xarray.Dataset({"lon": (dims[:2], CUBE[..., 0]), "lat": (dims[:2], CUBE[..., 0])})
    place.to_netcdf(path, engine="h5netcdf", group="location", mode="a")

    image = open_image(path)
    assert image.wavelengths.tolist() == [381.0, 388.5, 1400.0, 2200.0]
    assert image.good.tolist() == [True, False, True, True]
    assert image.no_data == -9999.0
    assert image.place is None  # that of the file is not of these pixels
    prepared = prepare(image)
    assert prepared.bands.tolist() == [0, 3]
    assert (prepared.cube[:, 1, 2] == 0).all()
    np.testing.assert_array_equal(prepared.cube[:, :, :2], CUBE[:, :2, [0, 3]].transpose(2, 0, 1))


def write_prisma(path: Path, **changes: Any) -> None:
    # Rows, bands, cols; wavelengths fall, the first one of each was not acquired
    rng = np.random.default_rng(0)
    attributes = {
        "List_Cw_Vnir": [0.0, 970.0, 550.0],
        "List_Cw_Vnir_Flags": [0, 1, 1],
        "List_Cw_Swir": [0.0, 2000.0, 950.0, 1400.0],
        "List_Cw_Swir_Flags": [0, 1, 1, 1],
        "L2ScaleVnirMin": 0.1,
        "L2ScaleVnirMax": 1.1,
        "L2ScaleSwirMin": 0.0,
        "L2ScaleSwirMax": 0.5,
        "Epsg_Code": 32632,
        "Product_ULcorner_easting": 500015.0,
        "Product_ULcorner_northing": 5000015.0,
        "Product_LRcorner_easting": 500015.0 + 4 * 30,
        "Product_LRcorner_northing": 5000015.0 - 5 * 30,
    }
    cubes = {
        VNIR: rng.integers(1, 65536, (6, 3, 5)).astype(np.uint16),
        SWIR: rng.integers(1, 65536, (6, 4, 5)).astype(np.uint16),
    }
    for cube in cubes.values():
        cube[0, :, 0] = 0
    with h5py.File(path, "w") as file:
        for name, cube in cubes.items():
            file[name] = cube
        file["HDFEOS/SWATHS/PRS_L2D_HCO/Data Fields/VNIR_PIXEL_L2_ERR_MATRIX"] = cubes[VNIR] % 2
        file["HDFEOS/SWATHS/PRS_L2D_PCO/Data Fields/Cube"] = cubes[VNIR][:, 0]
        file.attrs.update({k: v for k, v in (attributes | changes).items() if v is not None})


def test_prisma(tmp_path: Path) -> None:
    path = tmp_path / "PRS_L2D_STD.he5"
    write_prisma(path)
    image = open_image(path)
    prepared = prepare(image)

    # Sorted, the two spectrometers interleaved where they overlap, less water vapour
    assert prepared.wavelengths.tolist() == [550.0, 950.0, 970.0, 2000.0]
    with h5py.File(path) as file:
        vnir, swir = (file[name][()].astype(float) / 65535 for name in (VNIR, SWIR))
    expected = np.stack([0.1 + vnir[:, 2], 0.5 * swir[:, 2], 0.1 + vnir[:, 1], 0.5 * swir[:, 1]])
    expected[:, 0, 0] = 0
    np.testing.assert_allclose(prepared.cube, expected, atol=1e-6)

    # Corners are centres of pixels
    assert image.place.transform == (30.0, 0.0, 500000.0, 0.0, -30.0, 5000030.0)
    assert image.place.crs == "EPSG:32632"

    # Or their edges
    edges = {"easting": 500015.0 + 5 * 30, "northing": 5000015.0 - 6 * 30}
    write_prisma(path, **{f"Product_LRcorner_{k}": v for k, v in edges.items()})
    assert open_image(path).place.transform == (30.0, 0.0, 500015.0, 0.0, -30.0, 5000015.0)

    # Better wavelengths
    nm = np.arange(500.0, 507.0)
    assert open_image(path, wavelengths=nm).wavelengths.tolist() == nm.tolist()

    # Of a lower level
    write_prisma(path, Epsg_Code=None)
    assert open_image(path).place is None


def test_prisma_broken(tmp_path: Path) -> None:
    path = tmp_path / "PRS_L2D_STD.he5"
    write_prisma(path, List_Cw_Vnir=[900.0, 800.0])
    with pytest.raises(ValueError, match=r"PRS_L2D_STD.*VNIR_Cube' do not fit its attributes"):
        open_image(path)
    write_prisma(path, L2ScaleSwirMax=None)
    with pytest.raises(ValueError, match="L2ScaleSwirMax"):
        open_image(path)


def test_other(tmp_path: Path) -> None:
    # Bands first, with scale and place as GDAL and xarray write them
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = tmp_path / "image.nc"
    cube = np.moveaxis(CUBE, -1, 0)
    mapping = {"GeoTransform": "500000 60 0 4000000 0 -60", "crs_wkt": "EPSG:32611"}
    content = {
        "group_x": (("wavelength", "y", "x"), cube, {"grid_mapping": "spatial_ref"}),
        "spatial_ref": ((), 0, mapping),
    }
    coordinates = {"wavelength": ("wavelength", [0.4, 0.5, 0.6, 0.7], {"units": "um"})}
    encoding = {"group_x": {"dtype": "int16", "scale_factor": 1e-4, "_FillValue": -1}}
    xarray.Dataset(content, coordinates).to_netcdf(path, engine="h5netcdf", encoding=encoding)

    image = open_image(path)
    assert image.place.transform == (60.0, 0.0, 500000.0, 0.0, -60.0, 4000000.0)
    assert image.place.crs == "EPSG:32611"
    assert image.wavelengths == pytest.approx([400.0, 500.0, 600.0, 700.0])
    np.testing.assert_allclose(prepare(image).cube, cube, atol=1e-4)


def test_observatory(tmp_path: Path) -> None:
    # As the National Ecological Observatory Network lays them out
    path = tmp_path / "NEON_reflectance.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("SERC/Reflectance/Reflectance_Data", data=np.int16(1e4 * CUBE))
        array.attrs.update({"Scale_Factor": 10000.0, "Data_Ignore_Value": -9999.0})
        file["SERC/Reflectance/Metadata/Spectral_Data/Wavelength"] = [400.0, 500.0, 600.0, 1800.0]
    prepared = prepare(open_image(path))
    assert prepared.bands.tolist() == [0, 1, 2]
    np.testing.assert_allclose(prepared.cube, CUBE.transpose(2, 0, 1)[:3], atol=1e-4)


def test_variables(tmp_path: Path) -> None:
    path = tmp_path / "image.h5"
    with h5py.File(path, "w") as file:
        file["a/x"], file["b"], file["text"] = CUBE, CUBE + 1, ["one", "two"]
    np.testing.assert_array_equal(open_image(path, variable="/a/x").pixels[3], CUBE[..., 3])
    np.testing.assert_array_equal(open_image(path, variable="b", axis=0).pixels, CUBE + 1)
    with pytest.raises(
        ValueError, match=r"image\.h5'.*holds 2.*'a/x' \(2, 3, 4\), 'b' \(2, 3, 4\)"
    ):
        open_image(path)


def test_points_elsewhere(tmp_path: Path) -> None:
    # A link, numbers in another file, and a view of another file: none is followed
    secret, path = tmp_path / "secret.h5", tmp_path / "image.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = CUBE
    with h5py.File(path, "w") as file:
        file["x"] = h5py.ExternalLink(str(secret), "x")
    for variable in (None, "x"):
        with pytest.raises(ValueError, match="the arrays are none"):
            open_image(path, variable=variable)

    with h5py.File(secret, "a") as file:
        file["place"] = 0
        file["place"].attrs["GeoTransform"] = "1 2 3 4 5 6"
    with h5py.File(path, "w") as file:
        file["x"], file["place"] = CUBE, h5py.ExternalLink(str(secret), "place")
        file["x"].attrs["grid_mapping"] = "place"
    assert open_image(path).place is None

    outside = [(str(tmp_path / "secret.h5"), 0, CUBE.nbytes)]
    with h5py.File(path, "w") as file:
        file.create_dataset("x", CUBE.shape, CUBE.dtype, external=outside)
    with pytest.raises(ValueError, match="'/x' lie in other files"):
        open_image(path)

    layout = h5py.VirtualLayout(CUBE.shape, CUBE.dtype)
    layout[:] = h5py.VirtualSource(str(secret), "x", CUBE.shape)
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("x", layout)
    with pytest.raises(ValueError, match="'/x' lie in other files"):
        open_image(path)


def test_announced(tmp_path: Path) -> None:
    # An array that is not there takes no memory
    path = tmp_path / "image.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (10**5, 10**5, 10), "f4", chunks=(100, 100, 1))
    with pytest.raises(ValueError, match="cannot hold, compressed or not"):
        open_image(path)


def test_classic(tmp_path: Path) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    path = tmp_path / "image.nc"
    with scipy_io.netcdf_file(path, "w") as file:
        file.createDimension("x", 3)
    with pytest.raises(ValueError, match="classic NetCDF file, expected NetCDF 4"):
        open_image(path)


@damaging(150)
@given(st.data())
def test_any(tmp_path: Path, data: st.DataObject) -> None:
    r"""Tests that a damaged file gives an image or a ValueError."""
    path, whole = tmp_path / "PRS_L2D_STD.he5", tmp_path / "whole.he5"
    if not whole.exists():
        write_prisma(whole)
    path.write_bytes(damage(whole.read_bytes(), data, changes=8))
    try:
        image = open_image(path)
    except ValueError as error:
        assert "PRS_L2D_STD.he5" in str(error)
    else:
        assert image.pixels.ndim == 3
