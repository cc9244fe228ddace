r"""Progress of long work, shown where somebody watches."""

__all__ = ["Progress", "bars"]

import os
import sys

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tqdm import tqdm

#: Called with the name of a stage, the steps done and their number.
Progress = Callable[[str, int, int], None]


@contextmanager
def bars(title: str = "") -> Iterator[Progress | None]:
    r"""Draws one bar per stage, with rate and remaining time.

    Only where the standard error is a terminal, or the environment variable `SMILE_PROGRESS` is 1:
    a bar in the stored output of a notebook is noise.

    Args:
        title: What is worked on, shown before the stage.

    Yields:
        The function to report progress to, `None` where nothing is shown.
    """
    if not (sys.stderr.isatty() or os.environ.get("SMILE_PROGRESS") == "1"):
        yield None
        return

    bar: tqdm | None = None

    def show(stage: str, done: int, total: int) -> None:
        nonlocal bar
        text = f"{title} {stage}".strip()
        if bar is None or bar.desc != text:
            if bar is not None:
                bar.close()
            bar = tqdm(desc=text, total=total)
        bar.update(done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
