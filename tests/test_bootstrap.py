r"""Tests for the smile_core.bootstrap module."""

import ast
import importlib.util
import os
import pytest
import shutil
import subprocess
import sys
import venv

from pathlib import Path

from smile_core import bootstrap

INSTALL = "install --no-compile -c constraints.txt -e .[{}]"


class Calls(list):
    r"""Takes the place of venv and pip: makes a folder, and remembers what pip was asked for."""

    def create(self, folder: Path, clear: bool, **kwargs: bool) -> None:
        assert clear
        self.append("create")
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").touch()

    def run(self, command: list[str], **kwargs: object) -> None:
        self.append(" ".join(a for a in command[3:] if a != "--disable-pip-version-check"))
        if isinstance(self.failure, BaseException):
            raise self.failure

    failure: BaseException | None = None


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(venv, "create", calls.create)
    monkeypatch.setattr(subprocess, "run", calls.run)
    return calls


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("a")
    (tmp_path / "constraints.txt").write_text("b")
    return tmp_path


def test_install_once(root: Path, calls: Calls) -> None:
    python = bootstrap.install(root, ["test"])
    assert python == root / ".venv" / "bin" / "python"
    assert calls == ["create", "install --upgrade pip", INSTALL.format("test")]

    # Nothing changed
    calls.clear()
    assert bootstrap.install(root, ["test"]) == python
    assert calls == []

    # Other packages are added to those that are there
    (root / "constraints.txt").write_text("c")
    bootstrap.install(root, ["test"])
    assert calls == ["install --upgrade pip", INSTALL.format("test")]

    calls.clear()
    bootstrap.install(root, ["test", "lint"])
    bootstrap.install(root, ["test"])
    assert calls == ["install --upgrade pip", INSTALL.format("lint,test")]

    # A folder that was moved holds paths that lead nowhere
    calls.clear()
    moved = root.with_name("moved")
    root.rename(moved)
    bootstrap.install(moved, ["test"])
    assert calls == ["create", "install --upgrade pip", INSTALL.format("lint,test")]


@pytest.mark.parametrize(
    "failure", [KeyboardInterrupt(), subprocess.CalledProcessError(1, "pip")], ids=repr
)
def test_install_interrupted(root: Path, calls: Calls, failure: BaseException) -> None:
    bootstrap.install(root, ["test"])

    # While it is being changed
    (root / "pyproject.toml").write_text("c")
    calls.failure = failure
    with pytest.raises(type(failure)):
        bootstrap.install(root, ["test"])

    # What is left cannot be trusted
    calls.failure = None
    calls.clear()
    bootstrap.install(root, ["test"])
    assert calls == ["create", "install --upgrade pip", INSTALL.format("test")]


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 15, 0)])
def test_python_unfit(
    version: tuple[int, int, int],
    calls: Calls,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(sys, "version_info", version)

    assert bootstrap.main(["-c", "pass"]) == 1
    assert calls == []
    message = capsys.readouterr().err
    assert "from 3.11 to 3.14" in message
    assert f"is {version[0]}.{version[1]}." in message


def test_venv_missing(
    calls: Calls,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    assert bootstrap.main(["-c", "pass"]) == 1
    assert calls == []
    major, minor = sys.version_info[:2]
    assert f"sudo apt install python{major}.{minor}-venv" in capsys.readouterr().err


def test_command(root: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    class Replaced(BaseException):
        r"""Ends the process, as execve would."""

    def execve(*args: object) -> None:
        raise Replaced(*args)

    monkeypatch.setattr(bootstrap, "ROOT", root)
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("JUPYTER_PREFER_ENV_PATH")

    # What follows the first argument of Python is the command's own
    with pytest.raises(Replaced) as replaced:
        bootstrap.main(["--extra", "lint", "-m", "ruff", "--extra", "x"])
    python, command, env = replaced.value.args
    assert command == [python, "-m", "ruff", "--extra", "x"]
    assert calls[-1] == INSTALL.format("lint,test")

    # What the user has set stands
    assert env["OMP_WAIT_POLICY"] == "ACTIVE"
    assert env["JUPYTER_PREFER_ENV_PATH"] == "1"


def test_standard_library() -> None:
    source = Path(bootstrap.__file__).read_text("utf-8")

    # An older Python has to get as far as the message
    tree = ast.parse(source, feature_version=(3, 7))

    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in imports
        for alias in node.names
    }
    assert {name.split(".")[0] for name in names} <= sys.stdlib_module_names
