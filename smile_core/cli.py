r"""Command line.

    smile unmix IMAGE -r 4 --scale 2 -o OUT
    smile scenes
    smile reproduce --only 01
    smile report

Results go to files; what a program may want to know goes to the standard output, as one JSON
object with `--json`; what a person may want to watch goes to the standard error. The exit status
is 0 after success, 1 after a failure, which one line on the standard error explains, 2 where the
arguments do not fit, and 130 after an interruption.
"""

__all__ = ["main"]

import argparse
import json
import signal
import sys
import time
import warnings

from collections.abc import Callable
from pathlib import Path
from typing import Any

MODES = ("self", "single")
CONVENTIONS = ("auto", "share", "area", "plain")
FORMATS = ("envi", "geotiff")

EXAMPLES = {
    "smile": """\
examples:
  smile unmix scene.hdr -r 4 -o result
  smile scenes
  smile reproduce --only 01
  smile report
""",
    "unmix": """\
examples:
  smile unmix scene.hdr -r 4 -o result               four materials, ENVI in, ENVI out
  smile unmix scene.tif -r auto -o result            their number is estimated: a guess
  smile unmix EMIT_L2A_RFL.nc -r 5 --size 200 --format geotiff -o result
  smile unmix cube.npy -r 3 --axis 0 -o result       bands first; most have them last
  smile unmix scene.hdr -r 4 --scale 4 --library earthlib -o result
  smile unmix scene.hdr -r 4 -o result --json --quiet | python -m json.tool

OUT then holds
  result.npz       everything; read it with smile_core.Unmixing.load
  abundances*      one band for each endmember, with the map information of the image
  abundances_hr*   the same, --scale times finer
  endmembers.csv   their spectra
  names.csv        with --library: the three nearest of its spectra, and their angles
  result.png       a picture of all that
  summary.json     what --json prints
""",
    "scenes": "example:\n  smile scenes --json\n",
    "reproduce": "example:\n  smile reproduce --only 01,08 --jobs 2\n",
    "report": "example:\n  smile report --profile full\n",
}


def main(argv: list[str] | None = None) -> int:
    r"""Runs a command.

    Args:
        argv: The arguments. If `None`, those of the command line; then a request to terminate is
            an interruption as well.

    Returns:
        The exit status.

    Raises:
        SystemExit: If the arguments do not fit, or help is asked for.
    """
    if argv is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        argv = sys.argv[1:]

    # The runner of the notebooks has a command line of its own
    if argv[:1] == ["reproduce"]:
        from .reproduce import main as reproduce

        return reproduce(argv[1:])

    args = _parser().parse_args(argv)
    start = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_: _say(args, f"warning: {message}")
            summary = args.run(args)
    except KeyboardInterrupt:
        print("smile: interrupted", file=sys.stderr)
        return 130
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        print(f"smile: error: {text}", file=sys.stderr)
        return 1

    if args.json:
        print(json.dumps({**summary, "seconds": round(time.monotonic() - start, 1)}))

    return 0


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="smile",
        description="Unmixes and super-resolves hyperspectral images, each guiding the other.",
        epilog=EXAMPLES["smile"] + "\nsmile COMMAND --help says more.",
        formatter_class=raw,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, text: str, **defaults: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text[0].lower() + text[1:],
            description=text + ".",
            epilog=EXAMPLES[name],
            formatter_class=raw,
            allow_abbrev=False,
        )
        command.set_defaults(**defaults)
        if defaults:
            command.add_argument("--quiet", action="store_true", help="say nothing but errors")
            command.add_argument("--json", action="store_true", help="print one JSON object")
        return command

    unmix = add("unmix", "Unmix an image of one's own", run=_unmix)
    unmix.add_argument(
        "image", type=Path, metavar="IMAGE", help="ENVI, GeoTIFF, HDF5, NetCDF, MATLAB or NumPy"
    )
    unmix.add_argument(
        "-r",
        "--endmembers",
        type=_number_or_auto,
        required=True,
        metavar="R",
        help="number of materials, or auto",
    )
    unmix.add_argument(
        "-o", "--output", type=Path, required=True, metavar="OUT", help="folder of the results"
    )
    unmix.add_argument("--force", action="store_true", help="replace results that are in OUT")
    unmix.add_argument(
        "--scale",
        type=_at_least(2),
        default=2,
        metavar="S",
        help="how many times finer (%(default)s)",
    )
    unmix.add_argument(
        "--mode",
        choices=MODES,
        default="self",
        help="whether super-resolution guides (%(default)s)",
    )
    unmix.add_argument(
        "--convention",
        choices=CONVENTIONS,
        default="auto",
        help="what an abundance is (%(default)s: the data decide)",
    )
    unmix.add_argument(
        "--format", choices=FORMATS, help="format of the maps (that of the image, else envi)"
    )
    unmix.add_argument(
        "--library",
        help="spectra to compare endmembers with: earthlib, usgs, or a path of .sli or .csv",
    )
    unmix.add_argument(
        "--size", type=_at_least(1), metavar="N", help="unmix at most N x N pixels, in the centre"
    )
    unmix.add_argument("--variable", metavar="NAME", help="the image in a file of several arrays")
    unmix.add_argument(
        "--axis",
        type=int,
        choices=(0, 1, 2),
        help="axis of the bands in a file of MATLAB, NumPy or HDF5 (what fits, else 2)",
    )
    unmix.add_argument("--seed", type=_at_least(0), default=0, help="seed (%(default)s)")
    unmix.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (%(default)s)")
    unmix.add_argument("--threads", type=_at_least(1), metavar="N", help="threads of the CPU")

    add("reproduce", "Run the notebooks and print their claims")
    add("scenes", "List the scenes that the notebooks use", run=_scenes)

    report = add("report", "Make one HTML book of the notebooks, to read offline", run=_report)
    report.add_argument(
        "--profile", choices=("quick", "full"), default="quick", help="which run (%(default)s)"
    )
    report.add_argument(
        "-o", "--output", type=Path, help="folder of the book (figures/<profile>/report)"
    )

    return parser


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, got '{text}'"
            )
        return int(text)

    return number


def _number_or_auto(text: str) -> int | str:
    return text if text == "auto" else _at_least(1)(text)


def _say(args: argparse.Namespace, text: str) -> None:
    if not args.quiet:
        print(f"smile: {text}", file=sys.stderr, flush=True)


def _unmix(args: argparse.Namespace) -> dict[str, Any]:
    # What takes seconds to load is loaded here: help comes at once
    import matplotlib

    from .unmix_file import unmix_file

    matplotlib.use("agg")  # no window
    summary = unmix_file(
        args.image,
        args.endmembers,
        args.output,
        format=args.format,
        library=args.library,
        size=args.size,
        variable=args.variable,
        axis=args.axis,
        force=args.force,
        say=lambda text: _say(args, text),
        scale=args.scale,
        mode=args.mode,
        convention=args.convention,
        seed=args.seed,
        device=args.device,
        threads=args.threads,
        progress=_progress(args),
    )
    _say(
        args,
        f"{summary['endmembers']} endmembers, convention {summary['convention']}, in "
        f"{summary['seconds_of_stages']['total']:.0f} s: see {args.output}",
    )

    return summary


def _progress(args: argparse.Namespace) -> Callable[[str, int, int], None] | None:
    if sys.stderr.isatty() and not args.quiet:
        return None  # bars, of unmix itself

    stages = []

    def show(stage: str, done: int, total: int) -> None:
        if stage not in stages:
            stages.append(stage)
            _say(args, f"{stage} ...")

    return show


def _scenes(args: argparse.Namespace) -> dict[str, Any]:
    from .data import find
    from .scenes import SCENES, SIZES

    scenes = []
    for name, files in SCENES.items():
        sizes = dict(zip(("bands", "rows", "cols", "endmembers"), SIZES[name], strict=True))
        here = all(find(file) is not None for file in files)
        scenes.append({"name": name, **sizes, "at_hand": here, "files": list(files)})

    if not args.json:
        print(f"{'scene':<10} {'bands':>5}  {'pixels':>9}  {'endmembers':>10}  files")
        for scene in scenes:
            pixels = f"{scene['rows']} x {scene['cols']}"
            files = "at hand" if scene["at_hand"] else "not here: downloaded on first use"
            print(
                f"{scene['name']:<10} {scene['bands']:>5}  {pixels:>9}  "
                f"{scene['endmembers']:>10}  {files if scene['files'] else 'needs none'}"
            )

    return {"scenes": scenes}


def _report(args: argparse.Namespace) -> dict[str, Any]:
    try:
        from .report import make
    except ModuleNotFoundError as error:
        raise ImportError(
            f"The report needs the package {error.name}: install the extra 'report'."
        ) from error

    summary = make(args.profile, args.output)
    _say(args, f"{summary['pages']} pages, {summary['bytes'] / 1e6:.1f} MB: {summary['page']}")

    return summary
