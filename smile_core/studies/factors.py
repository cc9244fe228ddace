r"""Factors: synthetic scenes that differ from a centre in one thing, and what that does to errors.

Two experiments. In `restore` a scene is brought down, given noise, unmixed with guidance and
without, and is itself what the results are compared with. In `recover` a scene is unmixed as it
is, by this method or another, which is about endmembers and their convention.

A bound goes with the first. LR pixels are mixtures of HR pixels, so that their cone is the smaller
the coarser they are (Theorem 1.2). Endmembers that are themselves mixtures of LR pixels are
therefore off by no less than the angles between the true ones and that cone, noise apart.
"""

__all__ = ["CENTRE", "SOURCES", "around", "by_factor", "floor", "gains", "recover", "restore"]

import itertools
import math
import numpy as np
import pandas as pd
import scipy.optimize
import torch

from collections.abc import Mapping, Sequence
from torch import Tensor
from typing import Any, Literal

from ..affinity import best_share
from ..archetypes import archetypes, candidates
from ..baselines import METHODS
from ..degradation import degrade
from ..guidance import bring_up
from ..metrics import armse, match
from ..mixing import unit, unmix_pixels
from ..objective import Level
from ..result import Unmixing
from ..scene import Scene
from ..synthetic import add_noise, synthetic
from ..unmixing import Settings, find_device
from .experiments import METHOD, errors, fit, reference
from .statistics import summarise
from .variability import vary

#: The scene that others differ from in one thing.
CENTRE = {"snr": 30, "scale": 2, "purity": 1.0, "endmembers": 4, "brightness": "smooth"}

#: The modules that the experiments depend on.
SOURCES = (
    *METHOD,
    "baselines.geometric",
    "baselines.volume",
    "studies.experiments",
    "scene",
    "synthetic",
    "studies.variability",
)


def around(
    factors: Mapping[str, Sequence[Any]], seeds: int, **common: Any
) -> list[dict[str, Any]]:
    r"""Lists the cases of one factor at a time.

    Args:
        factors: The values of each factor that differs from `CENTRE`, which is added to them.
        seeds: The number of seeds, from 0 on.
        common: The other arguments of `restore`.

    Returns:
        The arguments of `restore`, each case once.
    """
    changes = [{}] + [
        {name: value}
        for name, values in factors.items()
        for value in values
        if value != CENTRE[name]
    ]

    return [
        {**CENTRE, **change, "seed": seed, **common}
        for seed, change in itertools.product(range(seeds), changes)
    ]


def by_factor(table: pd.DataFrame) -> pd.DataFrame:
    r"""Sorts the cases of one factor at a time, those of `CENTRE` with every factor again.

    Args:
        table: The cases, with any results.

    Returns:
        A row for each case and factor that may differ in it, with the columns `factor`, its name,
        and `value`.
    """
    frames = []
    for name in CENTRE:
        others = [other for other in CENTRE if other != name]
        part = table[(table[others] == pd.Series(CENTRE)[others]).all(axis=1)]
        frames.append(part.assign(factor=name, value=part[name].astype(object)))

    return pd.concat(frames, ignore_index=True)


def gains(table: pd.DataFrame, by: Sequence[str] = ("factor", "value")) -> pd.DataFrame:
    r"""Compares the errors of the modes `self` and `single`, seed by seed.

    Args:
        table: The cases of `restore` and their results.
        by: The columns that name a setting, over the seeds of which changes are averaged.

    Returns:
        A row for each setting and `error`, `lr` or `hr`: the change from `single` to `self` in
        percent, negative where guidance helps, as from `smile_core.studies.statistics.summarise`.
    """
    frames = []
    for error in ("lr", "hr"):
        change = 100 * (table[f"{error}_self"] / table[f"{error}_single"] - 1)
        frames.append(summarise(table.assign(change=change), by, "change").assign(error=error))

    return pd.concat(frames, ignore_index=True)


def restore(
    *,
    snr: float,
    scale: int,
    purity: float,
    endmembers: int,
    brightness: Literal["off", "smooth", "rough"],
    seed: int,
    size: int = 128,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a scene brought down, in the modes `single` and `self`.

    Args:
        snr: The signal-to-noise ratio in dB, at any scale that of the image to unmix.
        scale: The scale factor.
        purity: The largest abundance of every endmember in the scene.
        endmembers: The number of endmembers.
        brightness: The kind of brightness, see `smile_core.synthetic.synthetic`.
        seed: The seed of scene, noise and method.
        size: The number of rows and columns of the scene.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        The errors of both modes: `sad_single`, in radians, `lr_single` and `hr_single`, of the
        abundances at both resolutions, and so on; `convention`; `share`, of the network's
        correction that was taken, zero if none was trained; `best`, the share that would have
        been best by the reference, before the last solve, `None` if none was trained; `alone`,
        whether the rehearsal spoke against the guide; `floor`, see the function.
    """
    options = {"purity": purity, "brightness": brightness, "seed": seed}
    scene = synthetic(size, endmembers, snr=math.inf, **options)
    clean = degrade(scene.image, scale)
    noisy = add_noise(clean.double().numpy(), snr, np.random.default_rng([seed, 1]))
    y = torch.from_numpy(noisy).float()

    settings = Settings(restarts=restarts, steps=steps)
    options = {"scale": scale, "seed": seed, "settings": settings, "device": device}
    single, guided = (fit(y, endmembers, mode=mode, **options) for mode in ("single", "self"))
    share = guided.history.get("share")

    return {
        **{f"{name}_single": error for name, error in errors(single, scene).items()},
        **{f"{name}_self": error for name, error in errors(guided, scene).items()},
        "convention": single.convention,
        "share": share[0] if share else 0.0,
        "best": _best(single, guided, y, scene) if guided.network else None,
        "alone": share is None,
        "floor": floor(clean, scene.M),
    }


def recover(
    *,
    method: Literal["SMILE", "archetypes", "VCA", "SISAL"] = "SMILE",
    endmembers: int,
    brightness: Literal["off", "smooth", "rough"],
    seed: int,
    purity: float = 1.0,
    shadow: bool = False,
    snr: float = 30.0,
    variability: float = 0.0,
    convention: Literal["auto", "share", "plain"] = "auto",
    size: int = 64,
    restarts: int = Settings.restarts,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a scene as it is, by one method, without guidance.

    Args:
        method: This method, its archetypes alone, with the brightness free unless it is off, or
            one of `smile_core.baselines.METHODS`, which all take it as fixed.
        endmembers: The number of endmembers.
        brightness: The kind of brightness, see `smile_core.synthetic.synthetic`.
        seed: The seed of scene and method.
        purity: The largest abundance of every endmember.
        shadow: Whether the last endmember is a shadow.
        snr: The signal-to-noise ratio in dB.
        variability: The relative standard deviation of the spectra, see
            `smile_core.studies.variability`.
        convention: The convention of this method.
        size: The number of rows and columns.
        restarts: The number of restarts of the archetypes.
        device: The device of this method.

    Returns:
        The errors `sad`, in radians, and `armse`, in the convention of the result, `decided`;
        `given`, the second by a constrained solve with the true ones; `floor`, see the function.
        Of this method also the evidence: `structure`, `offset`, `thickness` and `ratio`, as far as
        it was weighed, and whether the endmembers are corners, `corners`.
    """
    options = {"purity": purity, "shadow": shadow, "brightness": brightness, "seed": seed}
    scene = synthetic(size, endmembers, snr=math.inf, **options)
    x = vary(scene, variability, snr, seed=seed)

    found: dict[str, Any] = {}
    if method == "SMILE":
        options = {"seed": seed, "settings": Settings(restarts=restarts), "device": device}
        result = fit(x, endmembers, mode="single", convention=convention, **options)
        M, a, decided = result.M, result.a, result.convention
        weighed = {k: v[0] for k, v in result.history.items() if k.startswith("evidence.")}
        found = {k.removeprefix("evidence."): v for k, v in weighed.items()}
        found["corners"] = "misfit" not in result.history
    elif method == "archetypes":
        decided = "plain" if brightness == "off" else "share"
        y = x / x.norm(dim=0).mean()
        pixels, area = (v.to(find_device(device)) for v in candidates(y, seed=seed))
        options = {"area": area, "normalised": decided == "share", "seed": seed}
        M = archetypes(pixels, endmembers, restarts=restarts, **options).M.cpu()
        a, _, _ = unmix_pixels(y, unit(M) if decided == "share" else M, decided)
    else:
        (M, a), decided = METHODS[method](x, endmembers, seed), "plain"

    permutation, angles = match(M, scene.M)
    truth, M_true = reference(scene, decided), unit(scene.M) if decided == "share" else scene.M

    return {
        "sad": float(angles.mean()),
        "armse": float(armse(a[permutation], truth)),
        "given": float(armse(unmix_pixels(x, M_true, decided)[0], truth)),
        "decided": decided,
        "floor": floor(scene.image, scene.M),
        **found,
    }


def floor(image: Tensor, M: Tensor) -> float:
    r"""Computes how near mixtures of pixels come to the endmembers that the pixels are made of.

    Args:
        image: The image without noise, with shape (B, h, w).
        M: Its endmembers, independent, with shape (B, R).

    Returns:
        The mean over the endmembers of the angle to the nearest combination of pixels with
        non-negative weights, in radians.
    """
    Q, T = torch.linalg.qr(M.double())
    y = (Q.mT @ image.double().flatten(1)).numpy()  # (endmembers, pixels)
    angles = []
    for m in T.mT.numpy():
        _, distance = scipy.optimize.nnls(y / np.linalg.norm(y, axis=0), m)
        angles.append(math.asin(min(distance / np.linalg.norm(m), 1.0)))

    return float(np.mean(angles))


def _best(single: Unmixing, guided: Unmixing, y: Tensor, scene: Scene) -> float:
    # The share of the correction by Theorem 2, from where mode `self` starts
    norm = y.double().norm(dim=0).mean().float()
    rho = single.brightness / (norm if single.convention == "share" else 1)
    level = Level(y / norm, single.a, rho)
    permutation, _ = match(single.M, scene.M)
    lifted, corrected = (
        bring_up(level, single.scale, network).a[permutation]
        for network in (None, guided.build_network())
    )

    return best_share(lifted, corrected, reference(scene, single.convention))
