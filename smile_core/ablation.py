r"""Ablation: one part of the method left out, or another weighting of its tasks.

The scene is brought down, unmixed, and is itself what the result is compared with, as in
`smile_core.experiments.guidance`. Everything else being equal, the seed included, an error of what
is left of the method is paired with that of the whole: their difference is what the part is worth.
"""

__all__ = ["SOURCES", "ablate", "plan", "worth"]

import itertools
import pandas as pd
import torch

from collections.abc import Sequence
from typing import Any, Literal

from .degradation import degrade
from .experiments import METHOD, errors
from .parts import PARTS
from .scenes import load
from .statistics import interval
from .synthetic import synthetic
from .unmixing import Settings, unmix
from .weighting import WEIGHTINGS

#: The modules that an ablation depends on.
SOURCES = (*METHOD, "experiments", "metrics", "scene", "scenes", "synthetic")

# What a difference is between: one setting, and the errors
PLACE, ERRORS = ["scene", "scale", "mode"], ["sad", "lr", "hr"]


def plan(
    names: Sequence[str],
    scales: Sequence[int],
    modes: Sequence[str],
    seeds: int,
    parts: Sequence[str] = tuple(PARTS),
    weightings: Sequence[str] = WEIGHTINGS[1:],
    **options: Any,
) -> list[dict[str, Any]]:
    r"""Lists the cases of an ablation: the method, less each part, and with each weighting.

    Args:
        names: The names of the scenes.
        scales: The scale factors.
        modes: The modes, `self` or `partial`.
        seeds: The number of seeds, from 0 on.
        parts: The parts to leave out.
        weightings: The weightings to compare with the plain sum.
        options: The other arguments of `ablate`.

    Returns:
        The arguments of `ablate`, each case once.
    """
    changes = [("", "sum"), *((part, "sum") for part in parts), *(("", w) for w in weightings)]
    keys = ("seed", *PLACE, "without", "weighting")
    places = itertools.product(range(seeds), names, scales, modes)

    return [
        dict(zip(keys, (*place, *change), strict=True)) | options
        for place, change in itertools.product(places, changes)
    ]


def ablate(
    scene: str,
    scale: int,
    mode: Literal["self", "partial"] = "self",
    *,
    seed: int,
    without: str = "",
    weighting: str = "sum",
    size: int | None = None,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a scene brought down, without one part of the method.

    Args:
        scene: The name of the scene. Of `synthetic`, each seed draws another one.
        scale: The scale factor.
        mode: What the SR task learns from. In mode `partial` that is the left half of the scene as
            well; then the errors are those in the right half.
        seed: The seed.
        without: The part to leave out, see `smile_core.parts`; none if empty.
        weighting: How the gradients of the tasks are combined, see `smile_core.weighting`.
        size: The rows and cols in the middle to crop the scene to, if it has more; the whole scene
            if `None`.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        The errors: `sad` in radians; `lr` and `hr`, of the abundances at both resolutions. The
        `share` of the network's correction that was taken, zero where no network was trained. And
        whether the rehearsal spoke against the guide, so that there is none, `alone`.
    """
    data = synthetic(seed=seed) if scene == "synthetic" else load(scene)
    H, W = (min(n, size or n) // scale * scale for n in data.image.shape[1:])
    data = data.crop(H, W)
    y = degrade(data.image, scale)

    given, first = {}, 0
    if mode == "partial":
        first = W // (2 * scale) * scale
        given = {"hr": data.image, "hr_mask": torch.arange(W).expand(H, W) < first}

    settings = Settings(restarts=restarts, steps=steps, weighting=weighting, without=without)
    options = {"scale": scale, "mode": mode, "seed": seed, "settings": settings, "device": device}
    result = unmix(y, data.R, **options, **given)
    share = result.history.get("share")

    return {
        **errors(result, data, first),
        "share": share[0] if share else 0.0,
        "alone": share is None,
        "convention": result.convention,
    }


def worth(table: pd.DataFrame) -> pd.DataFrame:
    r"""Sums up what each part is worth in each place, and the sum against other weightings.

    Args:
        table: The arguments of `ablate` and its results, a row per case, none of them failed.

    Returns:
        A row per `change` (the part that is left out, or the other weighting), scene, scale, mode
        and `error` (`sad`, `lr` or `hr`): the `mean` over the seeds of how much larger the error
        is with the change, its bootstrap interval from `low` to `high`, and `n`, the number of
        seeds. The change costs where `low` is positive, and pays where `high` is negative.
    """
    is_full = (table["without"] == "") & (table["weighting"] == "sum")
    change = table["without"].where(table["without"] != "", table["weighting"])
    changed = table.assign(change=change)[~is_full]
    pairs = changed.merge(table[is_full], on=[*PLACE, "seed"], suffixes=("", "_full"))

    rows = []
    for place, group in pairs.groupby(["change", *PLACE], sort=False):
        for error in ERRORS:
            difference = group[error] - group[f"{error}_full"]
            row = (*place, error, difference.mean(), *interval(difference), len(difference))
            rows.append(row)

    return pd.DataFrame(rows, columns=["change", *PLACE, "error", "mean", "low", "high", "n"])
