r"""What a notebook leaves behind: figures, claims and numbers.

A notebook makes one `Record`, adds to it along the way, and saves it at the end:

    record = Record("08_real", figures, seed=seed, device=device)
    record.figure(fig)
    record.numbers({"samson": {"sad": 0.019, "armse": 0.035}})
    record.claim("Beats VCA on Samson", number="0.019 rad < 0.072 rad", holds=True, source="ours")
    record.save()

The folder then holds `08_real.png` and `08_real.pdf`, the same bytes at every run, and
`08_real.json`, from which the runner prints its table.
"""

__all__ = [
    "Record",
    "Source",
    "check_finite",
    "find_commit",
    "find_version",
    "make_folder",
    "make_plain",
    "replacing",
]

import contextlib
import json
import math
import numpy as np
import os
import platform
import subprocess
import tempfile
import time

from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

#: Whose statement a claim is.
Source = Literal["paper (abstract)", "ours", "standard"]

ROOT = Path(__file__).resolve().parents[1]


class Record:
    r"""Creates the record of one run of a notebook.

    Args:
        name: The name of the notebook, such as `08_real`; files of the record begin with it.
        folder: The folder to write to, created where it is missing.
        seed: The seed of the run.
        device: The device of the run.

    Raises:
        ValueError: If the name is not that of a file.
        OSError: If the folder cannot be written to.
    """

    def __init__(self, name: str, folder: str | Path, *, seed: int, device: str = "cpu") -> None:
        if not name or Path(name).name != name:
            raise ValueError(f"The name of a record should be one word without '/', not '{name}'.")

        self.name = name
        self.folder = Path(folder)
        self.seed = int(seed)
        self.device = str(device)

        self._start = time.perf_counter()
        self._figures: list[str] = []
        self._claims: dict[str, dict[str, Any]] = {}
        self._numbers: dict[str, Any] = {}

        make_folder(self.folder)  # to learn at the beginning of a long run, not at its end

    def figure(self, fig: "Figure", suffix: str = "") -> None:
        r"""Saves a figure as PNG (150 dots per inch) and PDF, the same bytes at every run.

        Args:
            fig: The figure.
            suffix: What tells this figure from others of the notebook, `name_suffix.png`.
        """
        stem = f"{self.name}_{suffix}" if suffix else self.name

        with replacing(self.folder / f"{stem}.png") as path:
            fig.savefig(path, format="png", dpi=150, metadata={"Software": None})
        with replacing(self.folder / f"{stem}.pdf") as path:
            fig.savefig(path, format="pdf", dpi=150, metadata={"CreationDate": None})

        if stem not in self._figures:
            self._figures.append(stem)

    def claim(self, text: str, *, number: str, holds: bool, source: Source) -> None:
        r"""Adds a claim, or replaces the one of the same text.

        Args:
            text: The claim, one sentence.
            number: The computed number that speaks for or against it, with its unit.
            holds: Whether the claim holds.
            source: Whose statement it is.

        Raises:
            TypeError: If the number is no text, or `holds` neither true nor false.
            ValueError: If the source is unknown.
        """
        if not isinstance(number, str):
            raise TypeError(f"The number of a claim should be text with a unit, not {number!r}.")
        if not isinstance(holds, bool | np.bool_):
            raise TypeError(f"'holds' should be True or False, not {holds!r}.")
        if source not in get_args(Source):
            raise ValueError(f"Unknown source '{source}', should be one of {get_args(Source)}.")

        self._claims[text] = {
            "claim": text,
            "number": number,
            "holds": bool(holds),
            "source": source,
        }

    def numbers(self, numbers: dict[str, Any]) -> None:
        r"""Adds numbers, or replaces those of the same names.

        Args:
            numbers: Numbers, texts, arrays and tensors, in dictionaries and lists.

        Raises:
            ValueError: If a number is NaN or infinite.
        """
        plain = json.loads(json.dumps(numbers, default=make_plain))
        check_finite(plain, "")
        self._numbers.update(plain)

    def save(self) -> "DataFrame":
        r"""Writes the record to `folder/name.json`.

        Returns:
            The claims, one per row.
        """
        import pandas as pd  # the runner and the figures can do without

        content = {
            "name": self.name,
            "claims": list(self._claims.values()),
            "numbers": self._numbers,
            "figures": self._figures,
            "provenance": {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - self._start, 1),
                "seed": self.seed,
                "device": self.device,
                "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                "versions": {
                    "python": platform.python_version(),
                    "torch": find_version("torch"),
                    "numpy": find_version("numpy"),
                    "smile_core": find_version("smile-companion"),
                },
                **find_commit(),
            },
        }

        with replacing(self.folder / f"{self.name}.json") as path:
            path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")

        return pd.DataFrame(self._claims.values(), columns=["claim", "number", "holds", "source"])


def make_folder(folder: Path) -> None:
    r"""Makes a folder where it is missing, and makes sure that it can be written to.

    Args:
        folder: The path of the folder.

    Raises:
        OSError: If it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"The folder for figures and numbers cannot be written to ({error.strerror})"
        raise type(error)(error.errno, message, str(folder)) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    r"""Replaces a file as a whole: an interrupted run leaves the old file or none.

    Args:
        path: The path of the file.

    Yields:
        The path to write to, in the same folder, moved to `path` on success.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def make_plain(x: Any) -> Any:
    r"""Makes what JSON can hold of an array, tensor or table, whose missing values are `None`."""
    if hasattr(x, "to_dict"):
        return x.astype(object).where(x.notna(), None).to_dict("records")
    if hasattr(x, "tolist"):  # arrays, tensors and their scalars
        return x.tolist()

    raise TypeError(f"A record holds numbers, texts and arrays, not {type(x).__name__}.")


def check_finite(x: Any, name: str) -> None:
    r"""Raises a ValueError if a number is NaN or infinite, naming where it is."""
    if isinstance(x, dict):
        for key, value in x.items():
            check_finite(value, f"{name}.{key}" if name else key)
    elif isinstance(x, list):
        for i, value in enumerate(x):
            check_finite(value, f"{name}[{i}]")
    elif isinstance(x, float) and not math.isfinite(x):
        raise ValueError(f"The number '{name}' should be finite, not {x}.")


def find_version(name: str) -> str | None:
    r"""Returns the version of an installed package, `None` if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:  # the package can be used from its folder, not installed
        return None


def find_commit() -> dict[str, Any]:
    r"""Returns the commit of this repository, and whether its code differs from that."""
    # The code's own repository, not one that happens to lie around it
    if not (ROOT / ".git").exists():
        return {"commit": None, "dirty": None}

    try:
        commit = _git("rev-parse", "HEAD")
        dirty = _git("status", "--porcelain", "--", "smile_core", "notebooks/*.py") != ""
    except (OSError, subprocess.CalledProcessError):  # no git, or no commit yet
        return {"commit": None, "dirty": None}

    return {"commit": commit, "dirty": dirty}


def _git(*args: str) -> str:
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *args]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
