r"""Tests for the smile_core.record module."""

import json
import matplotlib.pyplot as plt
import numpy as np
import os
import pytest
import re
import subprocess
import sys
import torch

from pathlib import Path

from smile_core.record import Record, replacing

FIGURE = """
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
from smile_core.record import Record

fig, ax = plt.subplots()
ax.plot([0, 1], [0, 1], label="$a_k$")
ax.imshow([[0.0, 1.0]])
ax.legend()
Record("01_name", "{folder}", seed=0).figure(fig, suffix="maps")
"""


def test_figure_same_bytes(tmp_path: Path) -> None:
    # Two processes, so that neither the time nor the order of hashes agrees by chance
    for seed in ("1", "2"):
        code = FIGURE.format(folder=(tmp_path / seed).as_posix())
        env = {**os.environ, "PYTHONHASHSEED": seed, "SOURCE_DATE_EPOCH": seed}
        subprocess.run([sys.executable, "-c", code], env=env, check=True)

    first, second = tmp_path / "1", tmp_path / "2"
    assert sorted(p.name for p in first.iterdir()) == ["01_name_maps.pdf", "01_name_maps.png"]
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name

    # 150 dots per inch, in dots per metre
    header = (first / "01_name_maps.png").read_bytes()
    i = header.index(b"pHYs")
    assert int.from_bytes(header[i + 4 : i + 8], "big") == 5906


def test_figure_whole_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record("01_name", tmp_path, seed=0)
    (tmp_path / "01_name.png").write_bytes(b"old")

    fig = plt.figure()
    monkeypatch.setattr(fig, "savefig", lambda path, **_: (path.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        record.figure(fig)
    plt.close(fig)

    assert (tmp_path / "01_name.png").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["01_name.png"]


def test_save(tmp_path: Path) -> None:
    record = Record("01_name", tmp_path / "new" / "folder", seed=3, device="cpu")

    # Arrays and tensors become lists, later values replace earlier ones
    record.numbers({"a": 1, "b": {"c": np.float32(0.5), "d": torch.arange(2)}})
    record.numbers({"a": np.array([0.1, 0.2]), "text": "ok"})

    # A claim made again, as when a cell is run twice, is the same claim
    record.claim("One.", number="0.3 rad", holds=True, source="ours")
    record.claim("Two.", number="2 > 1", holds=np.bool_(True), source="standard")
    record.claim("One.", number="0.4 rad", holds=False, source="ours")
    table = record.save()

    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["01_name.json"]
    content = json.loads((tmp_path / "new" / "folder" / "01_name.json").read_text())
    assert content["numbers"] == {"a": [0.1, 0.2], "b": {"c": 0.5, "d": [0, 1]}, "text": "ok"}
    assert content["claims"] == [
        {"claim": "One.", "number": "0.4 rad", "holds": False, "source": "ours"},
        {"claim": "Two.", "number": "2 > 1", "holds": True, "source": "standard"},
    ]
    assert table.to_dict("records") == content["claims"]

    # Provenance
    provenance = content["provenance"]
    assert provenance["seed"] == 3 and provenance["device"] == "cpu"
    assert torch.__version__.split("+")[0] == provenance["versions"]["torch"].split("+")[0]
    assert provenance["versions"]["numpy"] == np.__version__
    assert provenance["seconds"] >= 0
    assert re.fullmatch(r"\w+ \w+, \d+ cores", provenance["machine"])


def test_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*args: str) -> str:
        command = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def provenance() -> tuple[str | None, bool | None]:
        record = Record("01_name", tmp_path / "figures", seed=0)
        record.save()
        content = json.loads((tmp_path / "figures" / "01_name.json").read_text())["provenance"]
        return content["commit"], content["dirty"]

    root = tmp_path / "root"
    (root / "smile_core").mkdir(parents=True)
    (root / "smile_core" / "a.py").write_text("")
    (root / "README.md").write_text("")
    monkeypatch.setattr("smile_core.record.ROOT", root)

    # An installed copy, then a clone without any commit
    assert provenance() == (None, None)
    git("init")
    assert provenance() == (None, None)

    git("add", ".")
    git("commit", "-m", "First")
    commit = git("rev-parse", "HEAD")
    assert provenance() == (commit, False)

    # What is not code does not count
    (root / "README.md").write_text("1")
    assert provenance() == (commit, False)
    (root / "smile_core" / "a.py").write_text("1")
    assert provenance() == (commit, True)


def test_refusals(tmp_path: Path) -> None:
    record = Record("01_name", tmp_path, seed=0)

    # Numbers that are none
    for bad in (float("nan"), np.float32("inf"), torch.tensor(float("nan"))):
        with pytest.raises(ValueError, match=r"'samson.sad\[1\]' should be finite"):
            record.numbers({"samson": {"sad": [0.5, bad]}})
    with pytest.raises(TypeError, match=r"not (Posix|Windows)Path"):
        record.numbers({"path": tmp_path})

    # Claims that say nothing
    with pytest.raises(TypeError, match=r"should be text with a unit, not 0.5"):
        record.claim("One.", number=0.5, holds=True, source="ours")
    with pytest.raises(TypeError, match="should be True or False, not None"):
        record.claim("One.", number="1", holds=None, source="ours")
    with pytest.raises(ValueError, match="Unknown source 'paper'"):
        record.claim("One.", number="1", holds=True, source="paper")

    # Nothing of these is kept
    assert record.save().empty
    assert json.loads((tmp_path / "01_name.json").read_text())["numbers"] == {}


def test_folder_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot be written to .*file"):
        Record("01_name", tmp_path / "file" / "figures", seed=0)

    with pytest.raises(ValueError, match=r"not '\.\./01_name'"):
        Record("../01_name", tmp_path, seed=0)


def test_replacing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    with replacing(path) as new:
        new.write_text("1")
        assert not path.exists()
    assert path.read_text() == "1"

    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_text("2")
        raise KeyboardInterrupt
    assert path.read_text() == "1"
    assert list(tmp_path.iterdir()) == [path]
