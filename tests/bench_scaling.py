r"""Benchmark: seconds against other ways to the same result, in one run on one machine.

    python tests/bench_scaling.py                   # everything; a quarter of an hour
    python tests/bench_scaling.py --only solver     # one part
    python tests/bench_scaling.py --only fit --device cuda

Rivals take turns, and of the repeats the least processor time counts: other programs can only add
to it. One thread each, except for the default fit, of which wall time counts.
"""

import argparse
import itertools
import numpy as np
import pandas as pd
import time
import torch

from collections.abc import Callable
from scipy.optimize import nnls
from torch import Tensor

from smile_core import scenes, unmix
from smile_core.archetypes import _start, archetypes, candidates
from smile_core.metrics import armse
from smile_core.mixing import fcls, gap, unit
from smile_core.studies.machine import measure
from smile_core.studies.scaling import Size, scene, slope


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures seconds against other ways.")
    parser.add_argument("--only", choices=["solver", "linearity", "restarts", "fit"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--restarts", type=int, default=50)
    parser.add_argument("--device", default="cpu", help="of the fit, beside the CPU (%(default)s)")
    options = parser.parse_args()
    pd.options.display.width = 120

    torch.set_num_threads(1)
    if options.only in (None, "solver"):
        report("Constrained solve, 10 000 pixels", bench_solver(options.repeats))
    if options.only in (None, "linearity"):
        report("Constrained solve, microseconds per pixel", bench_linearity(options.repeats))
    if options.only in (None, "restarts"):
        report("Restarts in a batch and one after another", bench_restarts(options.restarts))
    if options.only in (None, "fit"):
        title = "One default fit, mode self, seconds of wall time after the first"
        report(title, bench_fit(options.repeats, options.device))


def report(title: str, table: pd.DataFrame) -> None:
    print(f"\n{title}\n{table.to_string()}", flush=True)


def race(repeats: int, *functions: Callable[[], object]) -> list[float]:
    times = np.empty((repeats, len(functions)))
    for row in times:
        for k, function in enumerate(functions):
            start = time.process_time()
            function()
            row[k] = time.process_time() - start

    return times.min(axis=0).tolist()


def reduce(y: Tensor, M: Tensor) -> tuple[np.ndarray, np.ndarray]:
    # The sum to one as a row of weight 1e3, reduced by QR
    ones = np.full((1, y.shape[1]), 1e3)
    q, r = np.linalg.qr(np.vstack([M, ones[:, : M.shape[1]]]))

    return r, q.T @ np.vstack([y, ones])


def solver_problem(R: int, pixels: int) -> tuple[Tensor, Tensor]:
    image, M = scene(Size(side=round(pixels**0.5), bands=30, endmembers=R))
    y, M = image.flatten(1).double(), M.double()

    # Both solvers get R equations: as many "bands" as endmembers, of the same normal equations
    q, r = torch.linalg.qr(M)

    return q.mT @ y, r


def bench_solver(repeats: int) -> pd.DataFrame:
    rates, rows = measure(), []
    for R in (3, 4, 5, 6, 8, 12):
        y, M = solver_problem(R, 10_000)
        r, z = reduce(y, M)
        pixels = np.ascontiguousarray(z.T)
        ours, theirs = race(
            repeats, lambda y=y, M=M: fcls(y, M), lambda r=r, p=pixels: [nnls(r, x) for x in p]
        )

        a = fcls(y, M)
        b = torch.from_numpy(np.stack([nnls(r, x)[0] for x in pixels], axis=1))
        objective = (y - M @ a).square().sum() / 2
        # One product with an inverse that is there; 8 bytes for each entry that comes and goes
        floor = max(2 * a.numel() * R / rates.operations, 16 * a.numel() / rates.bandwidth)
        rows.append(
            {
                "R": R,
                "ms": 1e3 * ours,
                "NNLS ms": 1e3 * theirs,
                "times faster": theirs / ours,
                "floor ms": 1e3 * floor,
                "gap": f"{float(gap(a, y, M).sum() / objective):.0e}",
                "NNLS gap": f"{float(gap(b / b.sum(dim=0), y, M).sum() / objective):.0e}",
                "difference": f"{float((a - b).abs().max()):.0e}",
            }
        )

    return pd.DataFrame(rows).set_index("R").round(3)


def bench_linearity(repeats: int) -> pd.DataFrame:
    numbers = [10_000, 31_623, 100_000, 316_228, 1_000_000]
    table = pd.DataFrame(index=pd.Index(numbers, name="pixels"))
    for R in (3, 6, 12):
        y, M = solver_problem(R, numbers[-1])
        runs = (lambda y=y[:, :N], M=M: fcls(y, M) for N in numbers)
        table[f"R = {R}"] = race(repeats, *runs)
    slopes = {column: slope(numbers, table[column].tolist()) for column in table}
    table = 1e6 * table.div(table.index, axis=0)
    table.loc["slope of seconds"] = slopes

    return table.round(3)


def bench_restarts(restarts: int) -> pd.DataFrame:
    rows = []
    for data in (scenes.load("samson"), scenes.load("jasper")):
        pixels, area = candidates(data.image / data.image.norm(dim=0).mean())
        chosen, seconds = [], []
        for function in (in_a_batch, one_by_one):
            start = time.process_time()
            chosen.append(function(pixels, data.R, area, restarts))
            seconds.append(time.process_time() - start)
        rows.append(
            {
                "scene": data.name,
                "batch s": seconds[0],
                "one by one s": seconds[1],
                "times faster": seconds[1] / seconds[0],
                "chosen": chosen[0],
                "chosen one by one": chosen[1],
            }
        )

    return pd.DataFrame(rows).set_index("scene").round(2)


def in_a_batch(pixels: Tensor, R: int, area: Tensor, restarts: int) -> int:
    return archetypes(pixels, R, area=area, restarts=restarts).chosen


def one_by_one(pixels: Tensor, R: int, area: Tensor, restarts: int) -> int:
    # What `archetypes` does, as one would write it down: one restart at a time, in all bands
    N = pixels.shape[1]
    norms = pixels.norm(dim=0)
    y, v = pixels / norms, norms / (norms + norms.median()) * area
    v = v / v.mean()

    # From the same places
    basis = torch.linalg.eigh(y.double() @ y.double().mT).eigenvectors[:, -12:].to(y)
    starts = _start(basis.mT @ y, R, restarts, seed=0)

    misfit, volume = torch.empty(2, restarts)
    for k, W in enumerate(starts):
        logW, logA = W.log(), y.new_zeros(R, N).log_softmax(dim=0)
        A = logA.exp()
        step_a = (4.0, 8.0, 16.0)[k % 3] / torch.linalg.matrix_norm(y @ W, 2) ** 2
        step_w = step_a * (R / N) ** 0.5
        for _ in range(100):
            M = y @ W
            MtY, MtM = M.mT @ y, M.mT @ M
            for _ in range(5):
                logA = (logA + step_a * (MtY - MtM @ A)).log_softmax(dim=0)
                A = logA.exp()
            YA, AA = y @ (v * A).mT, A @ (v * A).mT
            for _ in range(5):
                logW = (logW + step_w * (y.mT @ (YA - y @ W @ AA))).log_softmax(dim=0)
                W = logW.exp()
        M = unit(y @ W)
        cosine = (unit(M @ A) * y).sum(dim=0).clamp(-1, 1)
        misfit[k], volume[k] = (v * cosine.arccos()).mean(), torch.linalg.det(M.mT @ M)

    return int(torch.where(misfit <= 1.03 * misfit.min(), volume, -1).argmax())


def bench_fit(repeats: int, device: str = "cpu") -> pd.DataFrame:
    data, rows = scenes.load("samson"), []
    ways = [("cpu", 1), ("cpu", 2)] + ([(device, 2)] if device != "cpu" else [])
    a = {}
    for repeat, (name, threads) in itertools.product(range(repeats + 1), ways):
        result = unmix(data.image, data.R, device=name, threads=threads)
        a[name, threads] = result.a_hr
        if repeat:  # the first warms up
            row = {"device": name, "threads": threads, **result.seconds}
            row["rmse to cpu"] = float(armse(result.a_hr, a["cpu", 1]))
            rows.append(row)

    table = pd.DataFrame(rows).groupby(["device", "threads"])
    return table.min().assign(**{"rmse to cpu": table["rmse to cpu"].max()}).round(4)


if __name__ == "__main__":
    main()
