r"""Tests for the smile_core.readme module."""

import json
import pytest

from pathlib import Path

from smile_core import readme
from smile_core.bootstrap import ROOT

CONTENT = {
    "name": "03_some",
    "claims": [
        {"claim": "One | two", "number": "3 %", "holds": True, "source": "ours"},
        {"claim": "Four", "number": "5", "holds": False, "source": "standard"},
        {"claim": "Six", "number": "7", "holds": True, "source": "ours"},
    ],
    "provenance": {
        "date": "2026-01-02T03:04:05",
        "machine": "M",
        "device": "cpu",
        "seconds": 6.7,
        "commit": "0123456789",
        "dirty": False,
    },
}


def test_main(tmp_path: Path) -> None:
    (tmp_path / "figures" / "full").mkdir(parents=True)
    (tmp_path / "figures" / "full" / "03_some.json").write_text(json.dumps(CONTENT))
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "03_some.py").write_text("# %% [markdown]\n# # 3. A | title. So\n")
    text = f"before\n{readme.BEGIN}old\n{readme.END}after\n"
    (tmp_path / "README.md").write_text(text)
    assert readme.main(tmp_path) == 0

    lines = (tmp_path / "README.md").read_text().splitlines()
    row = "| [03](notebooks/03_some.ipynb) | A \\| title. So | One \\| two: 3 % | 2 of 3 |"
    assert row in lines
    assert "Of 3 claims, these 1 do not hold:" in lines
    assert "- [03](notebooks/03_some.ipynb): Four: **5**" in lines
    told = "Full profile: 2026-01-02, M, cpu, commit 0123456 (03)."
    assert f"Whose the claims are: ours 2, standard 1. {told}" in lines
    assert "old" not in lines
    assert [lines[0], lines[-1]] == ["before", "after"]

    # A first claim that does not hold is marked
    claims = CONTENT["claims"][::-1]
    (tmp_path / "figures" / "full" / "03_some.json").write_text(
        json.dumps({**CONTENT, "claims": claims})
    )
    assert "Six: 7 | 2 of 3" in readme.table(tmp_path)
    claims = claims[1:]
    (tmp_path / "figures" / "full" / "03_some.json").write_text(
        json.dumps({**CONTENT, "claims": claims})
    )
    assert "Four: 5 **(does not hold)** | 1 of 2" in readme.table(tmp_path)

    # Without its marks, the file is left as it is
    (tmp_path / "README.md").write_text("no marks")
    assert readme.main(tmp_path) == 1
    assert (tmp_path / "README.md").read_text() == "no marks"


def test_readme_tells_the_numbers_of_the_full_profile() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    if not list((ROOT / "figures" / "full").glob("*.json")):
        pytest.skip("no run of the full profile")

    written = text.split(readme.BEGIN, 1)[1].split(readme.END, 1)[0]
    assert written == readme.table(ROOT)
