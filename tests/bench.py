r"""Benchmark: errors and seconds on the real scenes, against the limits that were set for them.

    make bench                       # everything; half an hour on two cores
    make bench SEEDS=1               # one seed

Errors are means over seeds. Fits are computed anew, not taken from the cache, and timed with two
threads.
"""

import argparse
import numpy as np
import os
import pandas as pd
import tempfile
import time
import torch

from scipy.optimize import nnls

# Before the cache is looked for
CACHE = tempfile.TemporaryDirectory()
os.environ["SMILE_CACHE"] = CACHE.name

from smile_core import scenes  # noqa: E402
from smile_core.mixing import fcls, gap  # noqa: E402
from smile_core.studies.experiments import guidance, native  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures errors and seconds.")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=["solver", "native", "guidance"])
    args = parser.parse_args()
    pd.options.display.width = 120

    loaded = [scenes.load(name) for name in ("samson", "jasper")]
    if args.only in (None, "solver"):
        report("Constrained solve against scipy's NNLS, one thread each", bench_solver(loaded))
    torch.set_num_threads(2)
    if args.only in (None, "native"):
        report("Native resolution, mode self", bench_native(loaded, args.seeds))
    if args.only in (None, "guidance"):
        for name, table in bench_guidance(loaded, args.seeds).items():
            report(name, table)


def report(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.round(4).to_string()}", flush=True)


def bench_solver(loaded: list[scenes.Scene]) -> pd.DataFrame:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for scene in loaded:
        y = scene.image.flatten(1).double()
        y, M = y / y.sum(dim=0), scene.M.double() / scene.M.double().sum(dim=0)

        # The sum to one as a row of weight 1e3, reduced by QR
        ones = np.full((1, y.shape[1]), 1e3)
        q, r = np.linalg.qr(np.vstack([M, ones[:, : M.shape[1]]]))
        z = q.T @ np.vstack([y, ones])

        ours, theirs = [], []
        for _ in range(5):
            start = time.perf_counter()
            a = fcls(y, M)
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            b = np.stack([nnls(r, pixel)[0] for pixel in z.T], axis=1)
            theirs.append(time.perf_counter() - start)

        objective = (y - M @ a).square().sum() / 2
        rows.append(
            {
                "scene": scene.name,
                "gap / objective": f"{float(gap(a, y, M).sum() / objective):.1e}",
                "largest difference": f"{np.abs(a.numpy() - b).max():.1e}",
                "ms": 1e3 * np.median(ours),
                "NNLS ms": 1e3 * np.median(theirs),
                "times faster": np.median(theirs) / np.median(ours),
            }
        )
    torch.set_num_threads(threads)

    return pd.DataFrame(rows).set_index("scene")


def bench_native(loaded: list[scenes.Scene], seeds: int) -> pd.DataFrame:
    table = pd.concat([native(scene, seeds) for scene in loaded])
    grouped = table.groupby("scene", sort=False)

    return (
        grouped[["sad", "armse", "armse_matched"]]
        .mean()
        .join(
            grouped.agg(
                sad_spread=("sad", "std"),
                armse_spread=("armse", "std"),
                armse_worst=("armse", "max"),
                seconds=("seconds", "median"),
            )
        )
    )


def bench_guidance(loaded: list[scenes.Scene], seeds: int) -> dict[str, pd.DataFrame]:
    cropped = [s.crop(*(n // 4 * 4 for n in s.image.shape[1:]), at=(0, 0)) for s in loaded]
    table = pd.concat([guidance(scene, s, seeds) for scene in cropped for s in (2, 4)])
    columns = ["sad", "lr", "hr", "lr_hidden", "hr_hidden", "psnr", "seconds"]
    mean = table.groupby(["scene", "scale", "mode"], sort=False)[columns].mean()
    single = mean.xs("single", level="mode")
    gain = 100 * (mean.drop(index="single", level="mode") / single - 1)

    return {
        "Guidance, means over seeds (hidden: the right half)": mean,
        "Percent against mode single": gain[["lr", "hr", "lr_hidden", "hr_hidden"]].round(1),
    }


if __name__ == "__main__":
    main()
