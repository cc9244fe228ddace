r"""Experiment on calibration: how often the truth is inside intervals that claim to hold it.

Of the intervals of 90 %, nine in ten should hold the truth. On synthetic scenes that can be
counted; on real ones there is only a reference, which is itself computed from the image.
"""

__all__ = ["LEVELS", "PARTLY", "SETTINGS", "SOURCES", "cover", "covered", "truth"]

import math
import numpy as np

from dataclasses import replace
from scipy.stats import spearmanr
from statistics import NormalDist
from torch import Tensor
from typing import Any

from ..metrics import match
from ..mixing import unit
from ..scene import Scene
from ..scenes import load
from ..synthetic import synthetic
from ..uncertainty import Spread, ensemble
from ..unmixing import Settings
from .experiments import METHOD, reference
from .variability import vary

#: The modules that this experiment depends on.
SOURCES = (
    *METHOD,
    "studies.experiments",
    "scene",
    "scenes",
    "synthetic",
    "studies.variability",
    "uncertainty",
)

#: Options of `cover` for synthetic scenes, one or two things at a time away from the first.
SETTINGS: dict[str, dict[str, Any]] = {
    "30 dB": {},
    "20 dB": {"snr": 20.0},
    "40 dB": {"snr": 40.0},
    "fixed brightness": {"brightness": "off"},
    "none pure": {"purity": 0.75},
    "varying": {"variability": 0.05},
    "varying, none pure": {"variability": 0.05, "purity": 0.75},
}

#: The levels that are stated.
LEVELS = (0.5, 0.8, 0.9, 0.95)

#: Materials that make up less than the first or more than the second part of a pixel are not
#: counted: there intervals of no width may be right, and all levels are covered alike.
PARTLY = (0.01, 0.99)

# Of the factors that are looked for: where members do not differ, there is none
LARGEST = 100.0

# Of float32, in which the truth is stored
ROUNDING = 1e-6


def cover(
    scene: str = "synthetic",
    *,
    seed: int,
    endmembers: int = 4,
    snr: float = 30.0,
    purity: float = 1.0,
    brightness: str = "smooth",
    variability: float = 0.0,
    size: int = 48,
    members: int = 16,
    resample: bool = True,
    restarts: int = Settings.restarts,
    rounds: int = Settings.rounds,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Counts how often the truth of a scene is inside the intervals of an ensemble.

    Args:
        scene: The name of the scene. Of `synthetic`, each seed draws another one, by the options
            up to `size`, which other scenes leave alone.
        seed: The seed of scene and ensemble.
        endmembers: The number of endmembers.
        snr: The signal-to-noise ratio in dB.
        purity: The largest abundance of every endmember.
        brightness: The kind of brightness, see `smile_core.synthetic.synthetic`.
        variability: The relative standard deviation of the spectra, see
            `smile_core.studies.variability`.
        size: The number of rows and columns.
        members: The number of members.
        resample: Whether members see resampled pixels.
        restarts: The number of restarts of the whole image; members have a quarter.
        rounds: The number of rounds of the whole image; members have half.
        device: The device.

    Returns:
        For each level of `LEVELS`, the share of abundances (`a.90`) and of bands of endmembers
        (`M.90`) whose truth is inside, and the same without the factor (`raw.a.90`, `raw.M.90`);
        for abundances, those of materials that are partly there, see `PARTLY`. Of these, the error
        `armse`, the root mean square `std` that was stated, and the mean `width` of the intervals
        of 90 %; the `rank` correlation of stated and observed errors. The `factor` with which the
        intervals of 90 % would hold the truth nine times in ten, at most 100; the `convention`,
        and the number of members `kept`.
    """
    if scene == "synthetic":
        options: dict[str, Any] = {"purity": purity, "brightness": brightness, "snr": math.inf}
        data = synthetic(size, endmembers, seed=seed, **options)
        image = vary(data, variability, snr, seed=seed)
    else:
        data = load(scene)
        image = data.image

    spread = ensemble(
        image,
        data.R,
        members=members,
        resample=resample,
        seed=seed,
        device=device,
        settings=Settings(restarts=restarts, rounds=rounds),
    )
    a_true, M_true = truth(data, spread)
    partly = (a_true > PARTLY[0]) & (a_true < PARTLY[1])
    low, high = (end[partly] for end in spread.interval(0.9))
    error = (spread.a - a_true)[partly]

    row: dict[str, Any] = {}
    for name, x in {"": spread, "raw.": replace(spread, factor=1.0)}.items():
        for level in LEVELS:
            inside_a, inside_M = covered(x, a_true, M_true, level)
            row[f"{name}a.{100 * level:.0f}"] = float(inside_a[partly].double().mean())
            row[f"{name}M.{100 * level:.0f}"] = float(inside_M.double().mean())

    return row | {
        "armse": float(error.square().mean().sqrt()),
        "std": float(spread.a_std[partly].square().mean().sqrt()),
        "width": float((high - low).mean()),
        "rank": float(spearmanr(error.abs().numpy(), spread.a_std[partly].numpy()).statistic),
        "factor": _needed(spread, a_true, partly),
        "convention": spread.convention,
        "kept": int(spread.kept.sum()),
    }


def truth(scene: Scene, spread: Spread) -> tuple[Tensor, Tensor]:
    r"""Returns the reference of a scene in the order and the convention of what was found.

    Args:
        scene: The scene, with a reference.
        spread: The abundances and endmembers that were found in it.

    Returns:
        The abundances, with shape (R, H, W), and the endmembers, with shape (B, R).
    """
    order = match(scene.M, spread.M)[0]
    M = scene.M if spread.convention == "plain" else unit(scene.M)

    return reference(scene, spread.convention)[order], M[:, order]


def covered(spread: Spread, a_true: Tensor, M_true: Tensor, level: float) -> tuple[Tensor, Tensor]:
    r"""Tells where the truth is inside the intervals, up to its rounding.

    Args:
        spread: The abundances and endmembers with their uncertainty.
        a_true: The true abundances, in the order and convention of `spread`, with shape (R, h, w).
        M_true: The true endmembers, in the same order and unit, with shape (B, R).
        level: The level that the intervals state.

    Returns:
        Whether each abundance is inside, with shape (R, h, w), and each endmember, band by band,
        with shape (B, R).
    """
    inside = []
    for (low, high), x in ((spread.interval(level), a_true), (spread.band(level), M_true)):
        room = ROUNDING * x.abs().max()
        inside.append((x >= low - room) & (x <= high + room))

    return inside[0], inside[1]


def _needed(spread: Spread, a_true: Tensor, partly: Tensor) -> float:
    # The quantile over abundances of the factor from which on each is inside
    z = NormalDist().inv_cdf(0.95)
    beyond = ((spread.a - a_true) / z).square() - spread.a_noise.square()
    factor = (beyond.clamp_min(0) / spread.a_spread.square().clamp_min(1e-12)).sqrt()

    return min(float(np.quantile(factor[partly].numpy(), 0.9)), LARGEST)
