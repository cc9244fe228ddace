r"""Experiments on what carries over: from one scene to another, from one date to the next.

Three ways to unmix a scene are compared. *Anew* knows nothing of others. *Applied* is
`smile_core.apply`: endmembers and network of another scene, or of several, nothing learned.
*Adapted* starts from them, `smile_core.unmix` with `start`, and trains for a few steps. And how
small the network may be is measured by its width.
"""

__all__ = ["SOURCES", "carry", "draw_dates", "draw_places", "follow", "gather", "narrow"]

import numpy as np
import time
import torch

from dataclasses import replace
from typing import Any

from ..application import apply
from ..degradation import degrade
from ..metrics import angle, match
from ..result import Unmixing
from ..scene import Scene
from ..scenes import load
from ..synthetic import synthetic
from ..unmixing import Settings, unmix
from .experiments import METHOD, errors
from .variability import vary

#: The modules that these experiments depend on.
SOURCES = (
    *METHOD,
    "studies.experiments",
    "scene",
    "scenes",
    "synthetic",
    "studies.variability",
)


def carry(
    scene: str,
    scale: int = 2,
    *,
    seed: int,
    adaptation: int = 40,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Learns on the left half of a scene, brought down, and unmixes the right one.

    Args:
        scene: The name of the scene. Of `synthetic`, each seed draws another one.
        scale: The scale factor.
        seed: The seed.
        adaptation: The number of training steps of *adapted*.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        For `anew`, `applied`, `adapted` and `single`, the last without any network: the errors in
        the right half, such as `anew.sad` in radians, `anew.lr` and `anew.hr`, and the
        `anew.seconds`. Whether a network was `trained` on the left half.
    """
    data = synthetic(seed=seed) if scene == "synthetic" else load(scene)
    H, W = (n // (2 * scale) * 2 * scale for n in data.image.shape[1:])
    left, right = (data.crop(H, W // 2, at=(0, first)) for first in (0, W // 2))
    y, R = degrade(right.image, scale), data.R

    settings = Settings(restarts=restarts, steps=steps)
    options: dict[str, Any] = {"scale": scale, "seed": seed, "device": device}
    learned = unmix(degrade(left.image, scale), R, settings=settings, **options)
    few = replace(settings, steps=adaptation)
    results = {
        "single": unmix(y, R, mode="single", settings=settings, **options),
        "anew": unmix(y, R, settings=settings, **options),
        "applied": apply(learned, y),
        "adapted": unmix(y, R, start=learned, settings=few, **options),
    }

    row: dict[str, Any] = {"trained": bool(learned.network)}
    for name, result in results.items():
        found = errors(result, right) | {"seconds": result.seconds["total"]}
        row |= {f"{name}.{key}": value for key, value in found.items()}

    return row


def draw_places(number: int, size: int = 48, R: int = 4, *, seed: int = 0) -> list[Scene]:
    r"""Draws synthetic scenes of one flight: the same materials in other places.

    Abundances, brightness, variation of the materials by 3 % and noise at 30 dB are drawn anew for
    each place.

    Args:
        number: The number of places.
        size: The number of rows and columns.
        R: The number of endmembers.
        seed: The seed.

    Returns:
        The scenes, with the truth as their reference.
    """
    seeds = [1000 * seed + k for k in range(number)]
    first, *others = (synthetic(size, R, seed=k) for k in seeds)
    places = [first, *(replace(other, M=first.M, materials=first.materials) for other in others)]

    return [
        replace(scene, name=f"place {k}", image=vary(scene, 0.03, 30.0, seed=seeds[k]))
        for k, scene in enumerate(places)
    ]


def gather(
    *,
    number: int,
    seed: int,
    scale: int = 2,
    size: int = 48,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Learns on several scenes of one flight, side by side, and unmixes another one.

    Args:
        number: The number of scenes to learn on; 0 to unmix the other one anew.
        seed: The seed of scenes and fits. The scene to unmix is the same whatever the number.
        scale: The scale factor.
        size: The number of rows and columns at HR.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        The errors `sad` in radians, `lr` and `hr`, and the `convention` that they are in; whether
        a network was `trained`; the `seconds` of what is done once the others are known.
    """
    settings = Settings(restarts=restarts, steps=steps)
    options: dict[str, Any] = {"scale": scale, "seed": seed, "device": device}
    scene, *others = draw_places(number + 1, size, seed=seed)
    known = torch.cat([degrade(other.image, scale) for other in others or [scene]], dim=2)
    result = unmix(known, scene.R, settings=settings, **options)
    if others:
        result = apply(result, degrade(scene.image, scale))

    return {
        **errors(result, scene),
        "convention": result.convention,
        "trained": bool(result.network),
        "seconds": result.seconds["total"],
    }


def draw_dates(number: int, size: int = 48, R: int = 4, *, seed: int = 0) -> list[Scene]:
    r"""Draws a time series of synthetic scenes: one area, whose materials wander and ripen.

    From the first date to the last, abundances go from one random field to another and spectra
    change by up to 5 % along the bands; brightness, variation of the materials by 3 % and noise at
    30 dB are drawn anew for each date.

    Args:
        number: The number of dates, at least 2.
        size: The number of rows and columns.
        R: The number of endmembers.
        seed: The seed.

    Returns:
        The scenes, with the truth as their reference.
    """
    first, last = (synthetic(size, R, seed=1000 * seed + k) for k in (0, 1))
    ramp = torch.linspace(-1, 1, first.M.shape[0])[:, None]
    signs = torch.from_numpy(np.random.default_rng(seed).choice([-1.0, 1.0], R)).float()

    scenes = []
    for k, t in enumerate(np.linspace(0, 1, number)):
        light = synthetic(size, R, seed=1000 * seed + 2 + k).brightness
        M = first.M * (1 + 0.05 * float(t) * ramp * signs)
        a = (1 - float(t)) * first.a + float(t) * last.a
        scene = replace(first, M=M, a=a, brightness=light, name=f"date {k}")
        scenes.append(replace(scene, image=vary(scene, 0.03, 30.0, seed=1000 * seed + k)))

    return scenes


def follow(
    *,
    warm: bool,
    seed: int,
    number: int = 5,
    scale: int = 2,
    size: int = 48,
    adaptation: int = 40,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a time series, each date anew or starting from the one before.

    Args:
        warm: Whether to start from the date before.
        seed: The seed of series and fits.
        number: The number of dates.
        scale: The scale factor.
        size: The number of rows and columns at HR.
        adaptation: The number of training steps from the second date on, if `warm`.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps, of the first date if `warm`.
        device: The device.

    Returns:
        Over the dates from the second on: the means of `sad` in radians, `lr`, `hr` and `seconds`;
        `turn`, the mean angle that an endmember moves from one date to the next beyond that of the
        truth, in radians; and how many times their order changes, `swaps`.
    """
    settings = Settings(restarts=restarts, steps=steps)
    rows, before = [], None
    for scene in draw_dates(number, size, seed=seed):
        start = time.perf_counter()
        options: dict[str, Any] = {"scale": scale, "seed": seed, "device": device}
        few = replace(settings, steps=adaptation) if warm and before else settings
        given = {"start": before[0]} if warm and before else {}
        y = degrade(scene.image, scale)
        result = unmix(y, scene.R, settings=few, **options, **given)
        seconds = time.perf_counter() - start

        if before is not None:
            rows.append(
                errors(result, scene) | {"seconds": seconds} | _move(before, result, scene)
            )
        before = result, scene

    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {
        "swaps": sum(row["swaps"] for row in rows)
    }


def narrow(
    scene: str,
    channels: int,
    scale: int = 2,
    *,
    seed: int,
    restarts: int = Settings.restarts,
    steps: int = Settings.steps,
    device: str = "auto",
) -> dict[str, Any]:
    r"""Unmixes a scene, brought down, with a network of another width.

    Args:
        scene: The name of the scene. Of `synthetic`, each seed draws another one.
        channels: The width; 0 for no network, mode `single`.
        scale: The scale factor.
        seed: The seed.
        restarts: The number of restarts of the archetypes.
        steps: The number of training steps.
        device: The device.

    Returns:
        The errors `sad` in radians, `lr` and `hr`; the number of `parameters` of the network, zero
        where none was trained; the `seconds` of the whole fit, `seconds_fit`.
    """
    data = synthetic(seed=seed) if scene == "synthetic" else load(scene)
    H, W = (n // scale * scale for n in data.image.shape[1:])
    data = data.crop(H, W, at=(0, 0))

    width = {"channels": channels} if channels else {}
    settings = Settings(restarts=restarts, steps=steps, **width)
    mode = "self" if channels else "single"
    options: dict[str, Any] = {"scale": scale, "seed": seed, "device": device}
    result = unmix(degrade(data.image, scale), data.R, mode=mode, settings=settings, **options)

    return {
        **errors(result, data),
        "parameters": sum(w.numel() for w in result.network.values()),
        "seconds_fit": result.seconds["total"],
    }


def _move(before: tuple[Unmixing, Scene], result: Unmixing, scene: Scene) -> dict[str, float]:
    # In the order that they come in, as a user would follow them
    old, new = match(before[0].M, before[1].M)[0], match(result.M, scene.M)[0]
    moved = angle(before[0].M[:, old], result.M[:, new])
    true = angle(before[1].M, scene.M)

    return {
        "turn": float((moved - true).abs().mean()),
        "swaps": int(not torch.equal(old, new)),
    }
