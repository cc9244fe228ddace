r"""Environment of the project, made by the standard library alone.

    python3 smile_core/bootstrap.py [--extra lint] -m smile_core.reproduce --profile quick

makes the virtual environment `.venv` where it is missing or out of date, with the versions of
constraints.txt, and then runs its Python with the remaining arguments. `make` calls this script;
where there is no make, call it directly.

The package index is pip's own setting. On Linux, the default index brings torch with CUDA
(2.7 GB); to take another build of the same version, name its index before the first call:

    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make reproduce
"""

from __future__ import annotations

__all__ = ["ENVIRONMENT", "install", "main"]

import hashlib
import importlib.util
import os
import subprocess
import sys
import venv

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: Python versions that the packages of constraints.txt support.
OLDEST, NEWEST = (3, 11), (3, 14)

#: Variables for everything that runs notebooks. Threads that wait actively make the small steps
#: of training ten times slower where they share a core; a kernel named python3 that lies in the
#: user's home must not be taken for the one of this environment.
ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "JUPYTER_PREFER_ENV_PATH": "1"}


def main(argv: list[str] | None = None) -> int:
    r"""Makes the environment where necessary and runs its Python.

    Args:
        argv: The arguments, those of the command line by default.

    Returns:
        The exit status. On POSIX systems, the command takes the place of this process instead.
    """
    command, extras = list(sys.argv[1:] if argv is None else argv), ["test"]
    if command[:1] == ["--extra"]:  # argparse would take "-m" for an option of its own
        extras.append(command[1])
        command = command[2:]

    try:
        python = install(ROOT, extras)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"The environment could not be made. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. The next call installs everything afresh.", file=sys.stderr)
        return 130

    command, env = [str(python), *command], {**ENVIRONMENT, **os.environ}
    if os.name == "posix":
        os.execve(command[0], command, env)  # Ctrl-C and the exit status are the command's own

    return subprocess.run(command, env=env, check=False).returncode


def install(root: Path, extras: list[str]) -> Path:
    r"""Installs the project and its locked packages in `root/.venv`, unless they are there.

    Args:
        root: The folder of pyproject.toml and constraints.txt.
        extras: The optional groups of packages, as pyproject.toml names them.

    Returns:
        The path of the environment's Python.

    Raises:
        RuntimeError: If this Python cannot make the environment.
        subprocess.CalledProcessError: If pip fails.
    """
    folder = root / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    # The stamp is written last: without one, an installation was interrupted
    stamp = folder / "installed"
    place = _digest(sys.version.encode(), str(root).encode())
    content = _digest(*((root / f).read_bytes() for f in ("pyproject.toml", "constraints.txt")))
    installed = stamp.read_text().split() if python.exists() and stamp.exists() else []

    if installed[:2] == [place, content] and set(extras) <= set(installed[2:]):
        return python

    # Creation
    _check_python()
    print(f"Installing the packages of constraints.txt in {folder}", flush=True)
    if installed[:1] == [place]:
        stamp.unlink()
    else:
        venv.create(folder, clear=True, with_pip=True, symlinks=os.name == "posix")

    # Packages; an older pip takes twice the time, and compilation as much again
    extras = sorted({*extras, *installed[2:]})
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, "--upgrade", "pip"], cwd=root, check=True)
    subprocess.run(
        [*pip, "--no-compile", "-c", "constraints.txt", "-e", ".[{}]".format(",".join(extras))],
        cwd=root,
        check=True,
    )

    # Stamp
    new = stamp.with_suffix(".new")
    new.write_text(" ".join([place, content, *extras]))
    new.replace(stamp)

    return python


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())

    return digest.hexdigest()


def _check_python() -> None:
    major, minor = sys.version_info[:2]
    if not OLDEST <= (major, minor) <= NEWEST:
        raise RuntimeError(
            "The locked packages need a Python from {}.{} to {}.{}, and {} is {}.{}. "
            "Name another one: make PYTHON=python3.12 reproduce".format(
                *OLDEST, *NEWEST, sys.executable, major, minor
            )
        )

    # Debian and Ubuntu ship Python without what venv needs
    if importlib.util.find_spec("ensurepip") is None:
        raise RuntimeError(
            f"{sys.executable} comes without the modules that make environments. "
            f"On Debian and Ubuntu: sudo apt install python{major}.{minor}-venv"
        )


if __name__ == "__main__":
    sys.exit(main())
