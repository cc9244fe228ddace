r"""Tests for the smile_core.result module."""

import json
import numpy as np
import pytest
import torch
import zipfile

from dataclasses import fields, replace
from pathlib import Path
from torch import Tensor

from smile_core import scenes
from smile_core.degradation import degrade
from smile_core.result import FORMAT, Unmixing
from smile_core.unmixing import Settings, unmix


@pytest.fixture(scope="module")
def result() -> Unmixing:
    hr = scenes.synthetic(size=40, endmembers=3).image
    settings = Settings(restarts=3, rounds=5, steps=7, channels=8)
    return unmix(degrade(hr, 2), 3, mode="supervised", hr=hr, seed=5, settings=settings)


def write(path: Path, metadata: object, **arrays: np.ndarray) -> None:
    np.savez(path, metadata=np.array(json.dumps(metadata)), **arrays)


def test_x_hr(result: Unmixing) -> None:
    B, H, W = result.x_hr.shape
    assert (B, H, W) == (180, 40, 40)

    mixed = result.M @ result.a_hr.flatten(1) * result.brightness_hr.flatten()
    torch.testing.assert_close(result.x_hr, mixed.reshape(B, H, W))


def test_save(result: Unmixing, tmp_path: Path) -> None:
    path = tmp_path / "result.npz"
    assert result.save(str(path)) == path
    loaded = Unmixing.load(path)

    # The same, to the last bit
    for item in fields(Unmixing):
        value, value_ = getattr(result, item.name), getattr(loaded, item.name)
        if isinstance(value, Tensor):
            assert value.dtype == value_.dtype
            assert torch.equal(value, value_), item.name
        elif item.name == "network":
            assert list(value) == list(value_)
            assert all(torch.equal(value[name], value_[name]) for name in value)
        else:
            assert value == value_, item.name

    # The network as well
    inputs = torch.randn(1, 184, 5, 5), *(torch.rand(1, 3, k, k) for k in (5, 10))
    with torch.no_grad():
        for before, after in zip(
            result.build_network()(*inputs), loaded.build_network()(*inputs), strict=True
        ):
            assert torch.equal(before, after)

    # Saved over, and from there once more
    loaded.save(path)
    assert torch.equal(Unmixing.load(path).a_hr, result.a_hr)
    assert [p.name for p in tmp_path.iterdir()] == ["result.npz"]


@pytest.mark.parametrize("scale", [2, 3])
def test_build_network(scale: int) -> None:
    hr = 0.1 + torch.rand(6, 16 * scale, 18 * scale)
    options = {"mode": "supervised", "hr": hr, "settings": Settings(2, 3, steps=3, channels=12)}
    u = unmix(degrade(hr, scale), 2, scale=scale, **options)
    network = u.build_network()

    assert not network.training
    assert network.scale == scale
    assert all(torch.equal(v, u.network[name]) for name, v in network.state_dict().items())


def test_single(tmp_path: Path) -> None:
    u = unmix(torch.rand(4, 3, 3), torch.rand(4, 2), mode="single")
    loaded = Unmixing.load(u.save(tmp_path / "single.npz"))

    assert loaded.history == u.history == {}
    assert loaded.network == u.network == {}
    assert torch.equal(loaded.a, u.a)


def test_file(result: Unmixing, tmp_path: Path) -> None:
    r"""Tests that the file can be read without this package, and without running anything."""
    path = result.save(tmp_path / "result.npz")
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}

    metadata = json.loads(str(arrays.pop("metadata")))
    assert metadata["format"] == FORMAT == 2
    assert metadata["convention"] == "share"
    assert metadata["seed"] == 5
    assert all(array.dtype != object for array in arrays.values())
    assert np.array_equal(arrays["a_hr"], result.a_hr.numpy())
    assert np.array_equal(arrays["history.sr"], result.history["sr"])
    assert np.array_equal(arrays["network.head.bias"], result.network["head.bias"].numpy())


def test_load_errors(result: Unmixing, tmp_path: Path) -> None:
    path = result.save(tmp_path / "result.npz")
    content = path.read_bytes()
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    metadata = json.loads(str(arrays.pop("metadata")))

    with pytest.raises(FileNotFoundError):
        Unmixing.load(tmp_path / "none.npz")

    # Truncated anywhere, or not what it seems
    contents = [content[: len(content) * k // 8] for k in range(8)]
    contents += [content[:-1], b"garbage", content[:500] + bytes(1000) + content[1500:]]
    for k, broken in enumerate(contents):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"result.npz' is not a saved result"):
            Unmixing.load(path)
            raise AssertionError(k)

    # Files of other programs
    np.savez(path, image=np.zeros(3))
    with pytest.raises(ValueError, match="is not a saved result"):
        Unmixing.load(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match="is not a saved result"):
        Unmixing.load(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata", "{}")
    with pytest.raises(ValueError, match="is not a saved result"):
        Unmixing.load(path)
    np.savez(path, metadata=np.array({"format": FORMAT}, dtype=object))
    with pytest.raises(ValueError, match="is not a saved result"):
        Unmixing.load(path)

    # Of another version
    for wrong in ({}, [], {**metadata, "format": FORMAT + 1}):
        write(path, wrong, **arrays)
        with pytest.raises(ValueError, match=f"has another format than {FORMAT}"):
            Unmixing.load(path)

    # Something missing, something more
    write(path, metadata, **{name: v for name, v in arrays.items() if name != "a_hr"})
    with pytest.raises(ValueError, match=r"lacks, or has unknown, \['a_hr'\]"):
        Unmixing.load(path)
    write(path, metadata, **arrays, b=np.zeros(2))
    with pytest.raises(ValueError, match=r"lacks, or has unknown, \['b'\]"):
        Unmixing.load(path)


def test_save_errors(result: Unmixing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("result", "result.npy", "result.npz.gz"):
        with pytest.raises(ValueError, match=f"should end in '.npz', got .*{name}'"):
            result.save(tmp_path / name)

    # No folder, or no folder that can be one
    with pytest.raises(OSError, match="missing"):
        result.save(tmp_path / "missing" / "result.npz")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        result.save(tmp_path / "file" / "result.npz")

    # Interrupted: what was there stays, nothing half-written is left
    path = result.save(tmp_path / "result.npz")
    content = path.read_bytes()

    def interrupt(file: object, **arrays: np.ndarray) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        replace(result, seed=6).save(path)
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "result.npz"]


def test_plot(result: Unmixing) -> None:
    figure = result.plot()

    # Endmembers above abundances at both resolutions
    maps = [ax.images[0].get_array().shape for ax in figure.axes if ax.images]
    assert maps == 3 * [(20, 20)] + 3 * [(40, 40)]
    lines = [ax.lines[0].get_ydata() for ax in figure.axes if ax.lines]
    for line, m in zip(lines, result.M.T.double().numpy(), strict=True):
        np.testing.assert_allclose(line, m / np.linalg.norm(m), rtol=1e-5)
    assert "share" in " ".join(
        text.get_text() for text in figure.findobj(lambda x: hasattr(x, "get_text"))
    )
