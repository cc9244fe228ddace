r"""Tests for the smile_core.cli module."""

import importlib
import json
import numpy as np
import os
import pytest
import signal
import subprocess
import sys
import time
import tomllib
import torch

from pathlib import Path
from typing import get_args

import smile_core

from smile_core import cli
from smile_core.bootstrap import ROOT
from smile_core.checks import Mode
from smile_core.cli import main
from smile_core.mixing import Convention
from smile_core.result import Unmixing
from smile_core.scenes import SCENES, SIZES, load
from smile_core.unmix_file import FORMATS, UNFINISHED

COMMAND = [sys.executable, "-m", "smile_core"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    # Two materials, each somewhere alone
    pytest.importorskip("spectral", reason="the extra 'geo' is not installed")
    rng = np.random.default_rng(0)
    M, a = rng.uniform(0.1, 0.9, (6, 2)), rng.uniform(size=(5, 4))
    a.flat[:2] = 0, 1
    path = tmp_path / "two.npy"
    np.save(path, np.einsum("br,rhw->hwb", M, np.stack([a, 1 - a])))

    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out"


def unmix(image: Path, out: Path, *options: str) -> int:
    return main(["unmix", str(image), "-r", "2", "--mode", "single", "-o", str(out), *options])


def test_unmix(image: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unmix(image, out, "--scale", "3", "--convention", "plain", "--seed", "7") == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        "6 bands, 5 x 4 pixels" in said.err
        and "6 of 6 bands are used" in said.err
        and str(out) in said.err
    )

    # The result is that of these options
    result = Unmixing.load(out / "result.npz")
    options = {"scale": 3, "mode": "single", "convention": "plain", "seed": 7}
    expected = smile_core.unmix(np.moveaxis(np.load(image), 2, 0), 2, **options)
    for name in ("M", "a", "a_hr", "gap"):
        torch.testing.assert_close(getattr(result, name), getattr(expected, name))
    assert result.a_hr.shape == (2, 15, 12)
    assert {name: getattr(result, name) for name in options} == options

    # The maps are those of the result, band by band
    for name, a in (("abundances", result.a), ("abundances_hr", result.a_hr)):
        header = (out / f"{name}.hdr").read_text("utf-8")
        assert "endmember 1" in header and "interleave = bsq" in header
        pixels = np.fromfile(out / f"{name}.img", np.float32)
        assert np.array_equal(pixels, a.float().numpy().ravel())
    assert len((out / "endmembers.csv").read_text("utf-8").splitlines()) == 7

    # What was found is named, all of it is there, and nothing else
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert {Path(path) for path in summary["paths"]} == set(out.iterdir())
    assert summary["largest_gap"] == result.gap.max()


def test_unmix_json(image: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert unmix(image, out, "--json", "--quiet") == 0
    said = capsys.readouterr()
    assert said.err == ""

    summary = json.loads(said.out)
    assert summary["seconds"] > 0
    del summary["seconds"]
    assert summary == json.loads((out / "summary.json").read_text("utf-8"))
    assert (summary["bands"], summary["rows"], summary["cols"]) == (6, 5, 4)


def test_unmix_warns(image: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.load(image)
    pixels[2, 2] = 0
    np.save(image, pixels)
    assert unmix(image, out) == 0
    assert "smile: warning: 1 of 20 pixels are dead" in capsys.readouterr().err
    assert json.loads((out / "summary.json").read_text("utf-8"))["dead_pixels"] == 1


def test_unmix_keeps_what_is_there(
    image: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    assert unmix(image, out) == 1
    assert "is not empty: --force" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["notes.txt"]

    # Results are replaced, other files are not
    (out / "result.npz").write_text("old")
    assert unmix(image, out, "--force") == 0
    assert (out / "notes.txt").read_text() == "mine"
    assert Unmixing.load(out / "result.npz").M.shape == (6, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unmix", "{}", "-r", "9", "-o", "{out}"], "at most that of the bands"),
        (["unmix", "{}", "-r", "2", "-o", "{}"], "two.npy"),
        (["unmix", "{}.hdr", "-r", "2", "-o", "{out}"], "two.npy.hdr"),
        (["unmix", "{}", "-r", "2", "-o", "{out}", "--device", "abacus"], "abacus"),
        (["report", "-o", "{folder}"], "something else than a report"),
    ],
)
def test_failures(
    arguments: list[str],
    message: str,
    image: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    argv = [word.format(image, out=out, folder=image.parent) for word in arguments]
    assert main(argv) == 1

    # One line, and no traces
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("smile: error: ")]
    assert len(lines) == 1 and message in lines[0]
    assert said.err.endswith(lines[0] + "\n") and said.out == ""
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["unmix", "x.npy", "-o", "out"],
        ["unmix", "x.npy", "-r", "2"],
        ["unmix", "x.npy", "-r", "0", "-o", "out"],
        ["unmix", "x.npy", "-r", "two", "-o", "out"],
        ["unmix", "x.npy", "-r", "2", "-o", "out", "--scale", "1"],
        ["unmix", "x.npy", "-r", "2", "-o", "out", "--scale", "²"],
        ["unmix", "x.npy", "-r", "2", "-o", "out", "--mode", "supervised"],
        ["unmix", "x.npy", "-r", "2", "-o", "out", "--seed", "-1"],
        ["scenes", "--jso"],
        ["report", "--profile", "../secret"],
        ["reproduce", "--jobs", "0"],
    ],
)
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2

    said = capsys.readouterr()
    assert said.err.startswith("usage: ") and "error: " in said.err and said.out == ""


@pytest.mark.parametrize("command", [[], ["unmix"], ["scenes"], ["reproduce"], ["report"]])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0

    said = capsys.readouterr()
    assert said.out.startswith("usage: ") and said.err == ""
    assert command == ["reproduce"] or "example" in said.out
    assert max(map(len, said.out.splitlines())) <= 100


def test_command_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    [(name, target)] = project["scripts"].items()
    module, _, function = target.partition(":")
    assert name == "smile" and getattr(importlib.import_module(module), function) is main

    # Nor does it need to be
    ran = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("usage: smile ")


def test_help_needs_no_torch() -> None:
    code = "import sys; import smile_core.cli as c\ntry: c.main(['--help'])\n"
    code += "finally: assert not {'torch', 'numpy', 'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_options_are_those_of_the_package() -> None:
    assert set(cli.MODES) == set(get_args(Mode)) - {"partial", "supervised"}  # show an HR image
    assert set(cli.FORMATS) == set(FORMATS)
    assert set(cli.CONVENTIONS) == {"auto", *get_args(Convention)}


def test_scenes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SMILE_DATA", str(tmp_path))
    (tmp_path / "samson.mat").write_text("")
    monkeypatch.setattr("smile_core.data.ROOT", tmp_path)
    monkeypatch.setattr("smile_core.data.cache", lambda: tmp_path / "cache")

    assert main(["scenes", "--json"]) == 0
    scenes = {scene["name"]: scene for scene in json.loads(capsys.readouterr().out)["scenes"]}
    assert set(scenes) == set(SCENES)
    assert [name for name, s in scenes.items() if s["at_hand"]] == ["samson", "synthetic"]
    assert (scenes["samson"]["bands"], scenes["samson"]["endmembers"]) == (156, 3)

    assert main(["scenes"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[1:]] == list(SCENES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.data(name)) for name in SCENES]
)
def test_sizes_are_those_of_the_scenes(name: str) -> None:
    scene = load(name)
    assert SIZES[name] == (*scene.image.shape, scene.R)


@pytest.mark.skipif(os.name != "posix", reason="no signals")
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_killed(kind: signal.Signals, tmp_path: Path, out: Path) -> None:
    # Long work, of which nothing may be left half done
    path = tmp_path / "noise.npy"
    np.save(path, np.random.default_rng(0).uniform(size=(64, 64, 50)))
    command = [*COMMAND, "unmix", str(path), "-r", "3", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (out / UNFINISHED).exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(kind)
    err = process.communicate(timeout=30)[1]

    assert [path for path in out.iterdir() if path.name != UNFINISHED] == []
    if kind == signal.SIGKILL:
        assert process.returncode == -kind
    else:
        assert process.returncode == 130 and list(out.iterdir()) == []
        assert err.endswith("smile: interrupted\n") and "Traceback" not in err

    # What is left does not stand in the way
    np.save(path, np.load(path)[:4, :4, :5])
    assert unmix(path, out, "--quiet") == 0
    assert not (out / UNFINISHED).exists()
