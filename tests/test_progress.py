r"""Tests for the smile_core.progress module."""

import io
import pytest
import sys

from smile_core.progress import bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work() -> None:
    with bars("samson") as show:
        for done in range(1, 4):
            if show is not None:
                show("archetypes", done, 3)
        for done in range(3):
            if show is not None:
                show("training", done, 2)


def test_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for value in (None, "", "0"):
        monkeypatch.delenv("SMILE_PROGRESS", raising=False)
        if value is not None:
            monkeypatch.setenv("SMILE_PROGRESS", value)
        with bars() as show:
            assert show is None
        work()

    assert capsys.readouterr() == ("", "")


def test_asked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SMILE_PROGRESS", "1")
    work()
    out, err = capsys.readouterr()

    # A bar per stage, each drawn to its end
    lines = [line.split("\r")[-1] for line in err.removesuffix("\n").split("\n")]
    assert out == ""
    assert len(lines) == 2
    for line, stage, count in zip(lines, ("archetypes", "training"), ("3/3", "2/2"), strict=True):
        assert line.startswith(f"samson {stage}: 100%")
        assert count in line


def test_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMILE_PROGRESS", raising=False)
    monkeypatch.setattr(sys, "stderr", Terminal())
    work()

    assert sys.stderr.getvalue().count("100%") == 2


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SMILE_PROGRESS", "1")
    with pytest.raises(KeyboardInterrupt), bars() as show:
        show("training", 1, 4)
        raise KeyboardInterrupt

    # The line ends, so that what comes next starts on its own
    assert capsys.readouterr().err.endswith("\n")
