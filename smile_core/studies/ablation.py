r"""Ablation: one part of the method left out, or another put in.

The scene is brought down, unmixed, and is itself what the result is compared with, as in
`smile_core.studies.experiments.guidance`. Everything else being equal, the seed included, an error
with a change is paired with that of the method as it is: their difference is what the change does.
"""

__all__ = ["CHANGES", "SOURCES", "ablate", "cost", "plan", "worth"]

import itertools
import numpy as np
import pandas as pd
import torch

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from ..degradation import degrade
from ..guidance import factors_of
from ..network import Smile
from ..parts import PARTS
from ..scenes import load
from ..synthetic import synthetic
from ..unmixing import Settings, unmix
from ..weighting import WEIGHTINGS
from .experiments import METHOD, errors
from .statistics import interval

#: The modules that an ablation depends on.
SOURCES = (*METHOD, "studies.experiments", "scene", "scenes", "synthetic")

#: What can be changed: a part left out, attention put in, or another weighting of the tasks.
CHANGES = (*PARTS, "attention", *WEIGHTINGS[1:])

# What a difference is between: one setting, and the errors
PLACE, ERRORS = ["scene", "scale", "mode"], ["sad", "lr", "hr"]


def plan(
    names: Sequence[str],
    scales: Sequence[int],
    modes: Sequence[str],
    seeds: int,
    changes: Sequence[str] = CHANGES,
    **options: Any,
) -> list[dict[str, Any]]:
    r"""Lists the cases of an ablation: the method, and the method with each change.

    Args:
        names: The names of the scenes.
        scales: The scale factors.
        modes: The modes, `self` or `partial`.
        seeds: The number of seeds, from 0 on.
        changes: Some of `CHANGES`.
        options: The other arguments of `ablate`.

    Returns:
        The arguments of `ablate`, each case once.
    """
    keys = ("seed", *PLACE, "change")
    cases = itertools.product(range(seeds), names, scales, modes, ("", *changes))

    return [dict(zip(keys, case, strict=True)) | options for case in cases]


def ablate(
    scene: str,
    scale: int,
    mode: Literal["self", "partial"] = "self",
    *,
    seed: int,
    change: str = "",
    size: int | None = None,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a scene brought down, by the method with a change.

    Args:
        scene: The name of the scene. Of `synthetic`, each seed draws another one.
        scale: The scale factor.
        mode: What the SR task learns from. In mode `partial` that is the left half of the scene as
            well; then the errors are those in the right half.
        seed: The seed.
        change: One of `CHANGES`; none if empty.
        size: The rows and cols in the middle to crop the scene to, if it has more; the whole scene
            if `None`.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        The errors: `sad` in radians; `lr` and `hr`, of the abundances at both resolutions. The
        `share` of the network's correction that was taken, zero where no network was trained. And
        whether the rehearsal spoke against the guide, so that there is none, `alone`. The
        seconds of the `training`, with the rehearsal, and the number of `weights` of the network,
        zero where none was trained but to rehearse.
    """
    data = synthetic(seed=seed) if scene == "synthetic" else load(scene)
    H, W = (min(n, size or n) // scale * scale for n in data.image.shape[1:])
    data = data.crop(H, W)
    y = degrade(data.image, scale)

    given, first = {}, 0
    if mode == "partial":
        first = W // (2 * scale) * scale
        given = {"hr": data.image, "hr_mask": torch.arange(W).expand(H, W) < first}

    settings = replace(_change(change), restarts=restarts, steps=steps)
    options = {"scale": scale, "mode": mode, "seed": seed, "settings": settings, "device": device}
    result = unmix(y, data.R, **options, **given)
    share = result.history.get("share")

    # The result of an ablation does not hold its network
    kind = {name: getattr(settings, name) for name in ("channels", "attention", "without")}
    with torch.device("meta"):  # to be counted, no more
        network = Smile(*result.M.shape, factors_of(scale)[0], **kind)
    trained = "sr" in result.history

    return {
        **errors(result, data, first),
        "share": share[0] if share else 0.0,
        "alone": share is None,
        "convention": result.convention,
        "training": result.seconds["training"],
        "weights": sum(p.numel() for p in network.parameters()) if trained else 0,
    }


def worth(table: pd.DataFrame) -> pd.DataFrame:
    r"""Sums up what each change does to the errors in each place.

    Args:
        table: The arguments of `ablate` and its results, a row per case, none of them failed.

    Returns:
        A row per `change`, scene, scale, mode and `error` (`sad`, `lr` or `hr`): the `mean` over
        the seeds of how much larger the error is with the change, its bootstrap interval from
        `low` to `high`, and `n`, the number of seeds. The change costs where `low` is positive,
        and pays where `high` is negative.
    """
    rows = []
    for place, group in _pairs(table).groupby(["change", *PLACE], sort=False):
        for error in ERRORS:
            difference = group[error] - group[f"{error}_full"]
            row = (*place, error, difference.mean(), *interval(difference), len(difference))
            rows.append(row)

    return pd.DataFrame(rows, columns=["change", *PLACE, "error", "mean", "low", "high", "n"])


def cost(table: pd.DataFrame) -> pd.DataFrame:
    r"""Sums up what each change does to the cost of the training.

    Cases count where the network was trained with the change and without it.

    Args:
        table: The arguments of `ablate` and its results, a row per case, none of them failed.

    Returns:
        A row per `change` with which networks are trained: `weights`, their number relative to
        that of the method; the geometric mean of the `seconds` of the training, relative to those
        of the method, over all places and seeds, its bootstrap interval from `low` to `high`, and
        `n`, the number of cases.
    """
    pairs = _pairs(table)
    pairs = pairs[(pairs["weights"] > 0) & (pairs["weights_full"] > 0)]

    rows = []
    for change, group in pairs.groupby("change", sort=False):
        ratio = np.log(group["training"] / group["training_full"])
        weights = (group["weights"] / group["weights_full"]).mean()
        rows.append((change, weights, *np.exp([ratio.mean(), *interval(ratio)]), len(ratio)))

    return pd.DataFrame(rows, columns=["change", "weights", "seconds", "low", "high", "n"])


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    # Each case with a change, beside the same case of the method as it is
    full = table[table["change"] == ""]
    return table[table["change"] != ""].merge(full, on=[*PLACE, "seed"], suffixes=("", "_full"))


def _change(change: str) -> Settings:
    if change not in ("", *CHANGES):
        raise ValueError(f"The change should be one of {CHANGES}, got {change!r}.")
    if change == "attention":
        return Settings(attention=True)

    return Settings(weighting=change) if change in WEIGHTINGS else Settings(without=change)
