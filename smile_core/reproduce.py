r"""Runner of the notebooks.

    python -m smile_core.reproduce [--profile quick|full] [--only 01,08] [--force] [--jobs N]

executes the notebooks, each after those whose results it reads, and prints every claim with its
number. The quick profile takes the defaults of the parameters cells, the full profile the values
of `notebooks/full.yaml`. Figures and numbers go to `figures/<profile>`, the executed notebooks to
`figures/<profile>/notebooks`.

A notebook is skipped where nothing has changed since it was executed. Hence a run that was
interrupted resumes where it stopped.
"""

__all__ = ["main"]

import argparse
import contextlib
import graphlib
import itertools
import json
import nbformat
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import yaml

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .bootstrap import ENVIRONMENT, ROOT
from .notebooks import Notebook, forget, is_up_to_date, key, plan, publish, remember
from .record import make_folder

# Seconds between two lines of progress where there is no terminal, on which one line is rewritten
SPARSE = 30.0


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    r"""Runs the notebooks and prints the table of their claims.

    Args:
        argv: The arguments, those of the command line by default.
        root: The folder that holds `notebooks` and `figures`.

    Returns:
        The exit status: 0 where every notebook ran, was up to date or was skipped for want of
        data, 1 where one failed, 2 where the arguments do not fit the notebooks, 130 after an
        interruption.
    """
    args = _arguments(argv)
    start = time.monotonic()
    figures = root / "figures" / args.profile
    notebooks: dict[str, Notebook] = {}

    try:
        with tempfile.TemporaryDirectory() as folder:
            try:
                notebooks = plan(root, args.profile, args.only, Path(folder))
                make_folder(figures / "notebooks")
            except (OSError, ValueError) as error:
                print(error, file=sys.stderr)
                return 2

            Runner(notebooks, figures, jobs=args.jobs, force=args.force).run()
    except KeyboardInterrupt:
        done = [nb.name for nb in notebooks.values() if nb.state in ("done", "up to date")]
        print(f"\nInterrupted. Done: {', '.join(done) or 'none'}.")
        print("The same command resumes with the others.")
        return 130

    failed = any(nb.state in ("failed", "not run") for nb in notebooks.values())
    if args.publish:
        failed |= not all([publish(nb, figures) for nb in notebooks.values()])

    _print_claims(notebooks, figures)
    _print_data(notebooks)

    place = f"figures/{args.profile}"
    print(f"\nFigures and numbers: {place}/<notebook>*.png, .pdf, .json")
    print(f"Executed notebooks:  {place}/notebooks/<notebook>.ipynb")
    print(f"{time.monotonic() - start:.0f} s in all.")

    return int(failed)


@dataclass
class Job:
    r"""A notebook that papermill executes, in a process of its own.

    Args:
        notebook: The notebook.
        label: Its number among the others and its name.
        key: The hash of what it depends on.
        output: The path of the executed notebook, saved after each cell.
        log: What papermill says.
        process: The process.
        start: The time of the start, in seconds.
    """

    notebook: Notebook
    label: str
    key: str
    output: Path
    log: IO[str]
    process: subprocess.Popen
    start: float

    def __str__(self) -> str:
        try:
            cells = json.loads(self.output.read_text("utf-8"))["cells"]
            done = sum(c["metadata"]["papermill"]["status"] == "completed" for c in cells)
            cell = f"cell {min(done + 1, len(cells))}/{len(cells)}  "
        except (OSError, ValueError):  # not there yet, or being written
            cell = ""

        return f"{self.label}  {cell}{time.monotonic() - self.start:.0f} s"


class Runner:
    r"""Creates a runner of notebooks, each after those whose results it reads.

    Args:
        notebooks: The notebooks by name; their states tell afterwards what became of them.
        figures: The folder of the results.
        jobs: The number of notebooks that run at once.
        force: Whether to run also what is up to date.
    """

    def __init__(
        self,
        notebooks: dict[str, Notebook],
        figures: Path,
        *,
        jobs: int = 1,
        force: bool = False,
    ) -> None:
        self.notebooks = notebooks
        self.figures = figures
        self.jobs = jobs
        self.force = force

        # More than two threads only hinder steps as small as ours
        threads = max(1, min(2, (os.cpu_count() or 1) // jobs))
        self.env = {**ENVIRONMENT, "OMP_NUM_THREADS": str(threads), **os.environ}

        self.running: list[Job] = []
        self.begun = 0
        self.shown = time.monotonic()

    def run(self) -> None:
        r"""Runs the notebooks; one that fails stops only those that come after it."""
        graph = graphlib.TopologicalSorter(
            {
                nb.name: [name for name in nb.after if name in self.notebooks]
                for nb in self.notebooks.values()
            }
        )
        graph.prepare()
        ready: list[str] = []

        try:
            while graph.is_active():
                ready = sorted([*ready, *graph.get_ready()])
                while ready and len(self.running) < self.jobs:
                    name = ready.pop(0)
                    if not self._start(self.notebooks[name]):
                        graph.done(name)

                self._wait()
                for job in [job for job in self.running if job.process.returncode is not None]:
                    self._finish(job)
                    graph.done(job.notebook.name)
        finally:
            self._stop()

    def _start(self, nb: Notebook) -> bool:
        self.begun += 1
        label = f"[{self.begun}/{len(self.notebooks)}] {nb.name}"

        for name in nb.after:
            if name in self.notebooks and self.notebooks[name].state in ("failed", "not run"):
                _say(f"{label}  not run, since it comes after {name}")
                return False

        if nb.missing and not nb.fallback:
            nb.state = "no data"
            _say(f"{label}  skipped for want of data: {', '.join(nb.missing)}")
            return False

        if not self.force and is_up_to_date(nb, self.figures):
            nb.state = "up to date"
            _say(f"{label}  up to date")
            return False

        forget(nb, self.figures)
        output = self.figures / "notebooks" / f"{nb.name}.ipynb"
        command = [sys.executable, "-m", "papermill", str(nb.input), str(output)]
        command += ["--parameters_yaml", yaml.safe_dump(nb.parameters), "--kernel", "python3"]
        command += ["--cwd", str(nb.source.parent), "--no-progress-bar"]
        log = tempfile.TemporaryFile("w+", encoding="utf-8")
        process = subprocess.Popen(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the runner, which then ends its jobs
        )
        now = time.monotonic()
        self.running.append(Job(nb, label, key(nb, self.figures), output, log, process, now))
        if not sys.stdout.isatty():
            _say(label)

        return True

    def _wait(self) -> None:
        if not self.running:
            return

        with contextlib.suppress(subprocess.TimeoutExpired):
            self.running[0].process.wait(timeout=0.5)
        for job in self.running:
            job.process.poll()

        if sys.stdout.isatty():
            _say(", ".join(map(str, self.running)), passing=True)
        elif time.monotonic() - self.shown > SPARSE:
            self.shown = time.monotonic()
            for job in self.running:
                _say(str(job))

    def _finish(self, job: Job) -> None:
        self.running.remove(job)
        nb, seconds = job.notebook, time.monotonic() - job.start

        if job.process.returncode == 0:
            nb.state = "done"
            _say(f"{job.label}  done  {seconds:.0f} s")
            remember(nb, self.figures, job.key)
        else:
            nb.state = "failed"
            _say(f"{job.label}  FAILED after {seconds:.0f} s")
            _say(_traceback(job))
            _say(f"As far as it ran, it is kept in {job.output}")

        job.log.close()

    def _stop(self) -> None:
        for job in self.running:
            job.process.terminate()  # papermill ends its kernel, then itself
        for job in self.running:
            try:
                job.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                job.process.kill()
            job.log.close()


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m smile_core.reproduce",
        description="Runs the notebooks and prints the table of their claims.",
    )
    parser.add_argument("--profile", choices=["quick", "full"], default="quick")
    parser.add_argument("--only", help="numbers or names of notebooks, as in 01,08")
    parser.add_argument("--force", action="store_true", help="run also what is up to date")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks that run at once")
    parser.add_argument(
        "--publish", action="store_true", help="refresh notebooks/*.ipynb from the quick run"
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="a Dask scheduler whose workers run the cases of studies, or 'local'",
    )
    args = parser.parse_args(argv)
    if args.scheduler:
        os.environ["SMILE_SCHEDULER"] = args.scheduler

    if args.jobs < 1:
        parser.error(f"--jobs should be at least 1, not {args.jobs}")
    if args.publish and args.profile != "quick":
        parser.error("--publish goes with the quick profile, the defaults of the notebooks")

    return args


def _traceback(job: Job) -> str:
    with contextlib.suppress(OSError, ValueError):
        for cell in nbformat.read(job.output, as_version=4).cells:
            for output in cell.get("outputs", []):
                if output.output_type == "error":
                    text = "\n".join([f"In cell {cell.id}:", *output.traceback])
                    return text if sys.stdout.isatty() else re.sub(r"\x1b\[[0-9;]*m", "", text)

    # No cell failed: the kernel died, or never came up
    job.log.seek(0)

    return job.log.read()[-4000:]


def _print_claims(notebooks: dict[str, Notebook], figures: Path) -> None:
    rows = []
    for nb in notebooks.values():
        path = figures / f"{nb.name}.json"
        if nb.state in ("done", "up to date") and path.exists():
            for claim in json.loads(path.read_text("utf-8"))["claims"]:
                holds = "holds" if claim["holds"] else "does not hold"
                rows.append((claim["claim"], claim["number"], holds, nb.name))

    if not rows:
        return

    widths = (44, 20, 13, 17)  # 100 columns, with the gaps
    rules = tuple("-" * width for width in widths)
    print()
    for row in [("claim", "number", "verdict", "where to look"), rules, *rows]:
        columns = [textwrap.wrap(cell, width) for cell, width in zip(row, widths, strict=True)]
        for cells in itertools.zip_longest(*columns, fillvalue=""):
            line = "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True))
            print(line.rstrip())


def _print_data(notebooks: dict[str, Notebook]) -> None:
    lacking = [nb for nb in notebooks.values() if nb.missing]
    if not lacking:
        return

    from .scenes import HOW_TO_GET  # brings torch, which takes seconds

    print()
    for nb in lacking:
        how = "ran on its fallback" if nb.fallback else "was skipped"
        print(f"{nb.name} {how} for want of data: {', '.join(nb.missing)}.")
    print(HOW_TO_GET)


def _say(text: str, passing: bool = False) -> None:
    if sys.stdout.isatty():
        width = shutil.get_terminal_size().columns - 1
        end = "" if passing else "\n"
        print(f"\r\x1b[K{text[:width] if passing else text}", end=end, flush=True)
    else:
        print(text, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
