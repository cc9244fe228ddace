r"""Tests for the smile_core.large module."""

import json
import numpy as np
import os
import pytest
import shutil
import signal
import subprocess
import sys
import time
import torch

from dataclasses import replace
from pathlib import Path

from smile_core import Settings, checks, large, scenes, unmix
from smile_core.distributed import connect
from smile_core.files.image import prepare
from smile_core.large import load_large, unmix_large

QUICK = Settings(restarts=3, rounds=10, steps=10)
TENSORS = ("M", "a", "a_hr", "brightness", "brightness_hr")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    r"""A scene with a brightness that varies."""
    return scenes.synthetic(24, 3, seed=1, brightness="smooth", snr=30).image.numpy()


@pytest.mark.parametrize("mode", ["single", "self"])
@pytest.mark.parametrize("tile", [32, 13])
def test_tiled_equals_untiled(tmp_path: Path, mode: str, tile: int) -> None:
    r"""Tests that tiles, put together, are what `unmix` returns of the whole."""
    image = scenes.synthetic(32, 3, seed=2, brightness="smooth", snr=30).image
    settings = replace(QUICK, steps=30)  # enough for a network that helps
    options = {"mode": mode, "settings": settings, "convention": "share"}
    whole = unmix(image, 3, **options)
    tiled = unmix_large(image, 3, tmp_path / "result", tile=tile, **options)
    for name in TENSORS:
        ours, theirs = getattr(tiled, name), getattr(whole, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.max()))
    assert torch.equal(tiled.dead, whole.dead)
    assert float(tiled.gap.max()) < 1e-6
    assert bool(whole.network) == (mode == "self")


def test_no_seams(tmp_path: Path) -> None:
    r"""Tests, where the truth is the same in all rows and cols, that there is nothing at seams."""
    M = scenes.synthetic(8, 3, seed=0).M.numpy()
    a = np.array([0.5, 0.3, 0.2])
    image = np.broadcast_to((M @ a)[:, None, None], (len(M), 60, 50))
    result = unmix_large(image, M, tmp_path / "result", tile=16, sample=1024, settings=QUICK)
    for maps in (result.a, result.a_hr):
        # As different from each other as rounding makes them
        assert float((maps - maps[:, :1, :1]).abs().max()) < 1e-4


def test_sample(tmp_path: Path) -> None:
    r"""Tests that a part of the image is enough for the whole, by the truth."""
    scene = scenes.synthetic(96, 3, seed=5, brightness="smooth", snr=30)
    options = {"mode": "single", "settings": QUICK, "convention": "share"}
    tiled = unmix_large(scene.image, 3, tmp_path / "result", sample=4096, tile=50, **options)
    assert tiled.a.shape == (3, 96, 96) and tiled.a_hr.shape == (3, 192, 192)
    whole = unmix(scene.image, 3, **options)
    best = min(
        float((tiled.a[list(order)] - whole.a).square().mean().sqrt())
        for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    )
    assert best < 0.1


@pytest.mark.parametrize(("h", "w"), [(64, 64), (7, 3000), (3000, 7), (100, 33), (33, 1000)])
@pytest.mark.parametrize("sample", [1024, 2048, 5000])
def test_windows_are_spread(h: int, w: int, sample: int) -> None:
    r"""Tests, of an image that tells its rows and cols, where the windows are from."""
    image = np.stack(np.broadcast_arrays(np.arange(h)[:, None], np.arange(w))).astype(np.float32)
    windows = large._draw(image, sample, 0).numpy()
    assert 0 < windows[0].size <= max(sample, 0)
    places = set(zip(*windows.reshape(2, -1).astype(int).tolist(), strict=True))
    if windows[0].size < h * w:  # no pixel twice, and from all over
        assert len(places) == windows[0].size
    assert windows[1].max() - windows[1].min() >= min(w, 32) - 1
    halves = {(i >= h / 2, j >= w / 2) for i, j in places}
    assert len(halves) > 1 or windows[0].size <= 1024


def test_file(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that the path of a file, its array, and a tensor give the same."""
    np.save(tmp_path / "image.npy", image)
    sources = (tmp_path / "image.npy", str(tmp_path / "image.npy"), torch.from_numpy(image))
    M = torch.from_numpy(image[:, 0, ::8]).clone().requires_grad_()
    results = [
        unmix_large(source, M, tmp_path / str(i), mode="single", settings=QUICK)
        for i, source in enumerate(sources)
    ]
    for result in results[1:]:
        assert all(torch.equal(getattr(result, n), getattr(results[0], n)) for n in TENSORS)


def test_opened_image(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests an image of scaled numbers and bad bands against what is read of it as a whole."""
    path = tmp_path / "image.npz"
    numbers = (1e4 * image).round().astype(np.int16)
    numbers[:, 3, 5] = -9999
    nm = np.linspace(2400.0, 400.0, len(image))  # descending, with water vapour
    np.savez(path, cube=numbers)
    opened = replace(scenes.open_image(path, axis=0, wavelengths=nm), no_data=-9999, gains=None)
    prepared = prepare(opened)
    assert len(prepared.cube) < len(image)
    options = {"mode": "single", "settings": QUICK}
    with pytest.warns(UserWarning, match="1 of 576 pixels are dead"):
        whole = unmix(prepared.cube, 3, **options)
    with pytest.warns(UserWarning, match="1 of 576 pixels are dead"):
        tiled = unmix_large(opened, 3, tmp_path / "result", tile=10, **options)
    for name in TENSORS:
        ours, theirs = getattr(tiled, name), getattr(whole, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.max()))


def test_result_is_mapped(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a result can be opened again, and that writing to it leaves the files alone."""
    result = unmix_large(image, 3, tmp_path / "result", mode="single", settings=QUICK)
    before = result.a.clone()
    result.a[:] = 0
    again = load_large(tmp_path / "result")
    assert torch.equal(again.a, before)
    called = unmix_large(image, 3, tmp_path / "result", mode="single", settings=QUICK)
    assert torch.equal(called.a, before) and called.seconds == again.seconds
    assert again.seconds["total"] > 0 and again.plot() is not None
    assert not (tmp_path / "result.partial").exists()


def test_dead_pixels(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that dead pixels are counted over all tiles, in one warning."""
    image = image.copy()
    image[:, 3:5, 14:] = 0
    with pytest.warns(UserWarning, match="^20 of 576 pixels are dead") as caught:
        result = unmix_large(image, 3, tmp_path / "result", tile=16, mode="single", settings=QUICK)
    assert len(caught) == 1 and int(result.dead.sum()) == 20


@pytest.mark.parametrize("mode", ["single", "self"])
def test_dead_border(tmp_path: Path, mode: str) -> None:
    r"""Tests that tiles outside of a scene, as of a satellite's image, are dead and no error."""
    image = scenes.synthetic(72, 3, seed=1, brightness="smooth", snr=30).image
    image[:, :40, :40] = 0
    options = {"mode": mode, "settings": QUICK, "convention": "share"}
    with pytest.warns(UserWarning, match="1600 of 5184 pixels are dead"):
        tiled = unmix_large(image, 3, tmp_path / "result", tile=16, **options)
    with pytest.warns(UserWarning, match="1600 of 5184 pixels are dead"):
        whole = unmix(image, 3, **options)
    assert torch.equal(tiled.dead, whole.dead)
    for name in TENSORS:
        ours, theirs = getattr(tiled, name), getattr(whole, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.max()))


def test_file_that_was_written_since(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a change outside of the sample is noticed, by the file that was written."""
    path, image = tmp_path / "image.npy", np.tile(image, (1, 2, 2))
    np.save(path, image)
    options = {"sample": 1024, "mode": "single", "settings": QUICK}
    result = unmix_large(path, 3, tmp_path / "result", **options)
    assert torch.equal(unmix_large(path, 3, tmp_path / "result", **options).a, result.a)

    np.save(path, image[:, ::-1])
    os.utime(path, ns=(0, 0))  # however fast the test is
    with pytest.raises(FileExistsError, match="something else"):
        unmix_large(path, 3, tmp_path / "result", **options)


def test_corrected_call(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a call that fails is no obstacle to the next one, nor numbers of NumPy."""
    folder = tmp_path / "result"
    for arguments in ({"endmembers": 0}, {"convention": "shares"}, {"seed": -1}):
        with pytest.raises(ValueError, match="should be"):
            unmix_large(**{"image": image, "endmembers": 3, "folder": folder} | arguments)
        assert not list(tmp_path.iterdir())

    options = {"mode": "single", "settings": QUICK}
    result = unmix_large(
        image, np.int64(3), folder, scale=np.int64(2), tile=np.int32(16), **options
    )
    again = unmix_large(image, 3, folder, tile=16, **options)
    assert torch.equal(again.a, result.a)


class Interrupted(Exception):
    r"""Stands for whatever ends a run."""


def test_resumes(image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that an interrupted run is gone on with: nothing is learned or solved twice."""
    options = {"tile": 8, "mode": "single", "settings": QUICK}
    whole = unmix_large(image, 3, tmp_path / "whole", **options)

    def stop(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("tiles", 4):
            raise Interrupted

    with pytest.raises(Interrupted):
        unmix_large(image, 3, tmp_path / "result", progress=stop, **options)
    assert not (tmp_path / "result").exists()
    with pytest.raises(FileExistsError, match="something else"):
        unmix_large(image, 3, tmp_path / "result", **options | {"seed": 1})
    with pytest.raises(FileExistsError, match="something else"):
        unmix_large(image + 1, 3, tmp_path / "result", **options)

    steps = []
    monkeypatch.setattr(large, "unmix", None)
    progress = lambda *step: steps.append(step)  # noqa: E731
    result = unmix_large(image, 3, tmp_path / "result", progress=progress, **options)
    assert steps == [("tiles", n, 9) for n in range(5, 10)]
    assert all(torch.equal(getattr(result, n), getattr(whole, n)) for n in TENSORS)


def test_interrupted_at_the_end(
    image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Tests that a run that ends right after its last tile can be opened when gone on with."""
    save, options = large._save_json, {"mode": "single", "settings": QUICK}

    def stop(path: Path, values: dict[str, object]) -> None:
        if "seconds" in values:
            raise Interrupted
        save(path, values)

    with monkeypatch.context() as patch:
        patch.setattr(large, "_save_json", stop)
        with pytest.raises(Interrupted):
            unmix_large(image, 3, tmp_path / "result", **options)
    result = unmix_large(image, 3, tmp_path / "result", **options)
    assert result.seconds["total"] > 0


@pytest.mark.slow
def test_killed(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a run that is killed, again and again, gets to the same result."""
    np.save(tmp_path / "image.npy", image)
    code = (
        "import sys; from smile_core import Settings; from smile_core.large import unmix_large;"
        "unmix_large(sys.argv[1], 3, sys.argv[2], tile=4, mode='single',"
        "settings=Settings(restarts=3, rounds=10))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "image.npy"), str(tmp_path / "result")]
    partial, kills = tmp_path / "result.partial", 0
    for tiles in (1, 12):
        process = subprocess.Popen(command)
        while process.poll() is None:
            path = partial / "tiles.npy"
            if path.exists() and int(np.load(path).sum()) >= tiles:
                os.kill(process.pid, signal.SIGKILL)
                kills += process.wait() == -signal.SIGKILL
            time.sleep(0.002)
    assert kills
    subprocess.run(command, check=False)
    settings = Settings(restarts=3, rounds=10)
    whole = unmix(image, 3, mode="single", settings=settings)
    torch.testing.assert_close(load_large(tmp_path / "result").a, whole.a, rtol=0, atol=1e-4)


def test_cluster(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that workers, one of which is killed, give what this process gives."""
    pytest.importorskip("distributed", reason="dask.distributed is not installed")
    np.save(tmp_path / "image.npy", image)
    options = {"tile": 8, "mode": "single", "settings": QUICK}
    here = unmix_large(image, 3, tmp_path / "here", **options)
    with connect("local") as client:
        pids = list(client.run(os.getpid).values())

        def kill(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("tiles", 3):
                os.kill(pids[0], signal.SIGKILL)

        mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
        there = unmix_large(mapped, 3, tmp_path / "there", client=client, progress=kill, **options)
    for name in TENSORS:
        torch.testing.assert_close(getattr(there, name), getattr(here, name), rtol=0, atol=1e-5)


def test_worker_outlives_a_run(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that what another run has learned in the same folder is not taken for this one's."""
    np.save(tmp_path / "image.npy", image)
    mapped = large._pack(np.load(tmp_path / "image.npy", mmap_mode="r"))
    path, box = tmp_path / "learned.npz", large.Box(0, 0, 24, 24)
    for number, options in enumerate(({"seed": 0}, {"seed": 1, "convention": "area"})):
        learned = unmix(image, 3, mode="single", settings=QUICK, **options)
        learned.save(path)
        os.utime(path, ns=(number, number))
        solved = large._solve_remotely(str(path), path.stat().st_mtime_ns, mapped, box)
        np.testing.assert_allclose(solved["a"], learned.a.numpy(), atol=1e-5)


def test_bad_input(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that what does not fit is named before anything is written."""
    folder = tmp_path / "result"
    for arguments, options, message in (
        ((image[0], 3), {}, r"shape \(bands, rows, cols\), got \(24, 24\)"),
        ((image, 3), {"mode": "supervised"}, "mode of a large image"),
        ((image, 3), {"tile": 0}, "tile should be a whole number of at least 1, got 0"),
        ((image, 3), {"sample": 10}, "sample should be a whole number of at least 1024, got 10"),
        ((image, 3), {"settings": Settings(attention=True)}, "'attention' of a large image"),
        ((image, 3), {"settings": None}, "settings should be of class Settings, got None"),
        ((image, 3), {"threads": -1}, "threads should be a whole number of at least 1, got -1"),
        ((image, 3), {"client": object()}, "should be mapped to a file"),
        ((__file__, 3), {}, r"should be a \.npy file"),
    ):
        with pytest.raises(ValueError, match=message):
            unmix_large(*arguments, folder, **options)
        assert not list(tmp_path.iterdir())
    folder.mkdir()
    with pytest.raises(FileExistsError, match="something else"):
        unmix_large(image, 3, folder)


def test_bad_tile(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a value that is not finite, outside of the sample, is found in its tile."""
    image = np.tile(image, (1, 2, 2))
    image[5, -1, -1] = np.nan
    with pytest.raises(ValueError, match=r"rows and cols \(14, 14, 48, 48\): The image should be"):
        unmix_large(
            image, 3, tmp_path / "result", sample=1024, tile=30, mode="single", settings=QUICK
        )


def test_too_little_memory_or_disk(
    image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    r"""Tests that this is told before the work, with the setting that lowers it."""
    memory = tmp_path / "meminfo"
    for kilobytes, setting in ((1000, "sample"), (15000, "tile")):
        memory.write_text(f"MemTotal: 9 kB\nMemAvailable: {kilobytes} kB\n")
        with monkeypatch.context() as patch:
            patch.setattr(checks, "MEMORY", memory)
            with pytest.raises(MemoryError, match=rf"GB are free: choose a smaller {setting}\."):
                unmix_large(np.tile(image, (1, 2, 2)), 3, tmp_path / "result", sample=1024)
            with pytest.raises(MemoryError, match=r"see smile_core\.unmix_large"):
                unmix(np.tile(image, (1, 2, 2)), 3)
    memory.unlink()
    assert not list(tmp_path.iterdir())

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="GB of disk"):
        unmix_large(image, 3, tmp_path / "result", mode="single", settings=QUICK)


def test_damaged_result(image: np.ndarray, tmp_path: Path) -> None:
    r"""Tests that a damaged folder is an error, not a wrong result."""
    unmix_large(image, 3, tmp_path / "result", mode="single", settings=QUICK)
    assert json.loads((tmp_path / "result" / "run.json").read_text())["tile"] == 256
    (tmp_path / "result" / "a.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises((ValueError, EOFError)):
        load_large(tmp_path / "result")
    with pytest.raises(FileNotFoundError):
        load_large(tmp_path / "nothing")
