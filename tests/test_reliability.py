r"""Tests that whatever comes in and whenever it ends, nothing false comes out.

`SMILE_SOAK=50`, as `make soak` sets it, has each kind of work killed 50 times and 40 inputs for
each of these; without it, they are as many as the time of a test allows.
"""

import ast
import contextlib
import json
import numpy as np
import os
import psutil  # comes with ipykernel
import pytest
import signal
import subprocess
import sys
import time
import torch
import warnings

from collections.abc import Iterator
from odd import SETTINGS, draw, spoil
from pathlib import Path

from smile_core import Unmixing, apply, scenes, unmix
from smile_core.bootstrap import ROOT
from smile_core.large import load_large, unmix_large
from smile_core.studies.study import study

SOAK = int(os.environ.get("SMILE_SOAK", "0"))
INPUTS, KILLS, REPEATS = (40 * SOAK, SOAK, 20) if SOAK else (200, 1, 2)

MAPS = ("M", "M_first", "a", "a_hr", "brightness", "brightness_hr", "gap", "x_hr")
BLOCK = 50  # inputs of one test

blocks = pytest.mark.parametrize("first", range(0, INPUTS, BLOCK))
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


# What comes in


@blocks
def test_odd_inputs(first: int, tmp_path: Path) -> None:
    r"""Tests that inputs as odd as they can be are unmixed, in the constraints, and again so."""
    last: dict[int, Unmixing] = {}
    for number in range(first, first + BLOCK):
        call = draw(number)
        with noted(number, call.kind), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"\d+ of \d+ pixels are dead")
            result = unmix(call.image, call.endmembers, **call.options)
            assert_valid(result)

            # The same seed, another date, another scene, and one that is too large for memory
            B, R = result.M.shape
            if number % 10 == 0:
                assert_same(unmix(call.image, call.endmembers, **call.options), result)
            if number % 10 == 5 and R <= min(B, int((~result.dead).sum())):
                assert_valid(unmix(call.image, R, start=result, **call.options))
            before = last.get(B, result)
            if before.convention == "share" or before.level > 1e-10 * result.level:
                assert_valid(apply(before, call.image))
            if number % 5 == 0 and call.options["mode"] in ("single", "self"):
                folder = tmp_path / str(number)
                large = unmix_large(call.image, call.endmembers, folder, tile=5, **call.options)
                assert_valid(large)
            last[B] = result


@blocks
def test_spoiled_inputs(first: int) -> None:
    r"""Tests that where one argument does not fit, the error is about it."""
    for number in range(first, first + BLOCK):
        call = spoil(draw(number), number)
        with noted(number, call.kind), pytest.raises(ValueError, match=call.spoiled.rstrip("s")):
            unmix(call.image, call.endmembers, **call.options)


def test_damaged_results(tmp_path: Path) -> None:
    r"""Tests that of a damaged file there comes the result, as it was, or an error."""
    rng, path = np.random.default_rng(0), tmp_path / "result.npz"
    result = unmix(torch.rand(5, 8, 8), 2, settings=SETTINGS)
    whole = result.save(path).read_bytes()
    refused = 0
    for _ in range(INPUTS):
        content = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 20)):
            content[place] = rng.integers(256)
        path.write_bytes(content[: rng.integers(len(whole))] if rng.random() < 0.3 else content)
        try:
            loaded = Unmixing.load(path)
        except ValueError as error:
            assert "result.npz" in str(error)
            refused += 1
        else:
            assert_same(loaded, result)
    assert refused > 0.7 * INPUTS


# What comes from elsewhere is not run

# Of what can run what a file holds, or write where it says
NAMES = {"eval", "exec", "compile", "__import__", "yaml.load", "os.system", "os.popen"}
METHODS = {"extract", "extractall", "unpack_archive", "read_pickle"}
METHODS |= {"unsafe_load", "full_load", "fromfile"}
MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "runpy", "tarfile"}
SAFE = {"np.load": ("allow_pickle", False), "torch.load": ("weights_only", True)}


def find_risks(text: str) -> list[str]:
    r"""Lists the imports and calls in a module that trust what they read."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {getattr(node, "module", None), *(alias.name for alias in node.names)}
            found += sorted(MODULES & names)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
            option, needed = SAFE.get(name, ("shell", False))
            given = options.get(option)
            unsafe = given is not needed if name in SAFE else bool(given)
            if unsafe or name in NAMES or name.rpartition(".")[2] in METHODS:
                found.append(ast.unparse(node))

    return found


def test_nothing_is_trusted() -> None:
    r"""Tests that no module unpickles, evaluates or extracts, and that this test would see it."""
    for path in sorted((ROOT / "smile_core").rglob("*.py")):
        assert find_risks(path.read_text("utf-8")) == [], path.name

    for text in (
        "import pickle",
        "from marshal import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "yaml.load(text, Loader)",
        "eval(text)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "archive.extractall(folder)",
        "pd.read_pickle(path)",
    ):
        assert find_risks(text), text


# When it ends

WORK = """
import sys
sys.path.insert(0, {tests!r})
import test_reliability
from pathlib import Path
print("ready", flush=True)
test_reliability.{work}(Path({folder!r}))
"""


def case(seed: int) -> dict[str, float]:
    r"""One case of a study."""
    result = unmix(make_image(seed), 2, mode="single", settings=SETTINGS)
    return {"first": float(result.a[0, 0, 0]), "last": float(result.a_hr[-1, -1, -1])}


def make_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 1, (4, 8, 8))


def work_large(folder: Path) -> None:
    if not (folder / "large").exists():  # as the error of a run that is done says
        unmix_large(make_image(0), 2, folder / "large", tile=1, settings=SETTINGS)


def work_study(folder: Path) -> None:
    os.environ["SMILE_CACHE"] = str(folder / "cache")
    rows = study(case, [{"seed": seed} for seed in range(12)])
    (folder / "rows.json").write_text(rows[["seed", "first", "last"]].to_json())


def work_save(folder: Path) -> None:
    results = [unmix(make_image(seed), 2, settings=SETTINGS, seed=seed) for seed in (0, 1)]
    for k in range(40):
        results[k % 2].save(folder / "result.npz")


def check_large(folder: Path, reference: Path) -> None:
    ours, theirs = (load_large(path / "large") for path in (folder, reference))
    for name in MAPS:
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name


def check_study(folder: Path, reference: Path) -> None:
    ours, theirs = ((path / "rows.json").read_text() for path in (folder, reference))
    assert ours == theirs


def check_save(folder: Path, reference: Path) -> None:
    assert_same(*(Unmixing.load(path / "result.npz") for path in (folder, reference)))


@posix
@pytest.mark.slow
@pytest.mark.parametrize("work", ["large", "study", "save"])
def test_killed_work(work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Tests that work that is killed at any moment is taken up, and comes to the same end."""
    monkeypatch.setenv("SMILE_CACHE", "")  # put back at the end
    do, check = globals()[f"work_{work}"], globals()[f"check_{work}"]
    rng, reference = np.random.default_rng(0), tmp_path / "reference"
    reference.mkdir()
    do(reference)  # with what is done but once, such as imports
    (tmp_path / "timed").mkdir()
    start = time.monotonic()
    do(tmp_path / "timed")
    seconds, killed = time.monotonic() - start, 0

    for k in range(KILLS):
        folder = tmp_path / str(k)
        folder.mkdir()
        code = WORK.format(tests=str(Path(__file__).parent), work=do.__name__, folder=str(folder))
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(rng.uniform(0, seconds))
            process.kill()
        killed += process.returncode == -signal.SIGKILL

        # What has its name is whole
        if (folder / "result.npz").exists():
            assert_valid(Unmixing.load(folder / "result.npz"))
        kept = {p: p.stat().st_mtime_ns for p in folder.glob("cache/*.json")}
        assert all(json.loads(path.read_text())["failed"] is None for path in kept)

        # The next run goes on with it
        do(folder)
        check(folder, reference)
        assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert killed > 0.5 * KILLS or KILLS < 3
    print(f"{work}: {killed} of {KILLS} runs were killed, all came to the same end")


NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec: {{display_name: Python 3, language: python, name: python3}}
#   smile: {{{after}}}
# ---

# %% [markdown]
# # A claim

# %% tags=["parameters"]
figures: str = "../figures/quick"  # folder of the results

# %%
import json, pathlib, time
import matplotlib.pyplot as plt
from smile_core.record import Record
record = Record("{name}", figures, seed=0)
fig, ax = plt.subplots()
_ = ax.plot([1, 2, 3])
record.figure(fig)
plt.close(fig)

# %%
record.numbers({{"values": list(range(1000))}})
record.claim("It runs.", number="1 s", holds=True, source="ours")
_ = record.save()
"""


def read_figures(figures: Path) -> dict[str, object]:
    r"""Reads what notebooks have left, whole or not at all, without what differs by time."""
    records = {p.name: json.loads(p.read_text("utf-8")) for p in figures.glob("*.json")}
    for record in records.values():
        del record["provenance"]
    pictures = {p.name: p.read_bytes() for p in (*figures.glob("*.png"), *figures.glob("*.pdf"))}
    assert all(
        content[-8:].strip().endswith((b"\x60\x82", b"EOF")) for content in pictures.values()
    )

    return records | pictures


@posix
@pytest.mark.slow
def test_killed_reproduction(tmp_path: Path) -> None:
    r"""Tests that a reproduction, killed with its notebooks or without, is resumed."""
    (tmp_path / "notebooks").mkdir()
    for name, after in (("01_a", ""), ("02_b", "after: [01_a]")):
        text = NOTEBOOK.format(name=name, after=after)
        (tmp_path / "notebooks" / f"{name}.py").write_text(text)
    code = "import pathlib, sys; from smile_core.reproduce import main\n"
    code += f"sys.exit(main(sys.argv[1:], pathlib.Path({str(tmp_path)!r})))"
    command, quiet = [sys.executable, "-c", code], {"stdout": subprocess.DEVNULL}
    figures, rng = tmp_path / "figures" / "quick", np.random.default_rng(1)

    start = time.monotonic()
    subprocess.run(command, check=True, **quiet)
    seconds, expected = time.monotonic() - start, read_figures(figures)
    assert len(expected) == 6
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen([*command, "--force"], **quiet) as process:
            time.sleep(rng.uniform(0, seconds))
            victims = [psutil.Process(process.pid)]
            if process.poll() is None and rng.random() < 0.5:
                victims += victims[0].children(recursive=True)
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
        killed += process.returncode == -signal.SIGKILL

        # Old results or new ones, and what counts as done is
        assert read_figures(figures) == expected
        keys = {p: p.stat().st_mtime_ns for p in (figures / "notebooks").glob("*.key")}
        for key in keys:
            outputs = json.loads(key.read_text())["outputs"]
            assert all((figures / name).stat().st_size for name in outputs)

        ran = subprocess.run(command, check=True, capture_output=True, text=True)
        assert ran.stdout.count("up to date") >= len(keys)
        assert read_figures(figures) == expected
        assert {p.stem for p in (figures / "notebooks").glob("*.key")} == {"01_a", "02_b"}
    assert killed > 0.5 * KILLS or KILLS < 3
    print(f"reproduce: {killed} of {KILLS} runs were killed, all were resumed")


# Where it runs


def test_repeats_and_threads() -> None:
    r"""Tests that the same comes out every time, and with two threads about the same."""
    image = scenes.synthetic(24, 3, seed=1, brightness="smooth", snr=30).image
    first = unmix(image, 3, settings=SETTINGS, threads=1)
    for _ in range(REPEATS - 1):
        assert_same(unmix(image, 3, settings=SETTINGS, threads=1), first)
    other = unmix(image, 3, settings=SETTINGS, threads=2)
    for name in ("M", "a", "a_hr", "brightness", "brightness_hr"):
        ours, theirs = getattr(other, name), getattr(first, name)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4 * float(theirs.max()))


def assert_valid(u: Unmixing) -> None:
    for name in MAPS:
        assert getattr(u, name).isfinite().all(), name
    for a in (u.a, u.a_hr):
        assert (a >= 0).all()
        assert float((a.double().sum(dim=0) - 1).abs().max()) <= 1e-5
    assert (u.brightness >= 0).all() and (u.brightness_hr >= 0).all()
    assert float(u.gap.min()) >= -1e-6


def assert_same(u: Unmixing, v: Unmixing) -> None:
    for name in MAPS:
        assert torch.equal(getattr(u, name), getattr(v, name)), name
    assert u.history == v.history
    assert {k: w.tolist() for k, w in u.network.items()} == {
        k: w.tolist() for k, w in v.network.items()
    }


@contextlib.contextmanager
def noted(number: int, kind: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"Input {number}: {kind}")
        raise
