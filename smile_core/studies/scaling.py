r"""Scaling: what each stage costs, against its size.

The cost of a stage follows a power law, :math:`t \propto n^p`, in the pixels, bands, endmembers,
restarts or the scale; the exponent :math:`p` is the slope in logarithms. What it could cost at
best is its floor, see `smile_core.studies.machine`.
"""

__all__ = [
    "DEFAULT",
    "STAGES",
    "Size",
    "exponents",
    "memory",
    "profile",
    "run",
    "scene",
    "slope",
    "solving",
    "stages",
    "sweep",
]

import math
import numpy as np
import pandas as pd
import torch

from collections.abc import Callable, Sequence
from torch import Tensor
from typing import Any, NamedTuple

from ..archetypes import archetypes, candidates
from ..guidance import factors_of, learn, material
from ..lifting import lift
from ..mixing import unit, unmix_pixels
from ..objective import Level
from ..refinement import refine
from .machine import Rates, count, floor, peak_memory, time_best

STAGES = ("endmembers", "solve", "training", "refinement")


class Size(NamedTuple):
    r"""The size of a problem.

    Args:
        side: The number of rows, and of columns.
        bands: The number of bands.
        endmembers: The number of endmembers.
        restarts: The number of restarts of the archetypes.
        scale: The scale factor.
    """

    side: int = 48
    bands: int = 100
    endmembers: int = 4
    restarts: int = 8
    scale: int = 2


DEFAULT = Size()


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    r"""Fits the exponent :math:`p` of :math:`y \propto x^p`, by least squares in logarithms.

    Args:
        x: The sizes, positive, at least two different ones.
        y: The costs, positive.

    Returns:
        The exponent.

    Raises:
        ValueError: If sizes or costs do not fit.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.shape != y.shape or len(np.unique(x)) < 2 or not (x > 0).all() or not (y > 0).all():
        raise ValueError(
            "Sizes and costs should be positive and as many, with two different sizes at least, "
            f"got {x.tolist()} and {y.tolist()}."
        )

    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def scene(size: Size, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Makes an image of smooth random spectra, mixed at random, and noisy.

    Args:
        size: The size of the problem.
        seed: The seed.

    Returns:
        The image, with pixels of about unit norm, with shape (bands, side, side), and the
        endmembers, of unit norm, with shape (bands, endmembers).
    """
    generator = torch.Generator().manual_seed(seed)
    walks = torch.randn(size.bands, size.endmembers, generator=generator).cumsum(dim=0)
    M = unit(walks - walks.amin(dim=0) + 1)

    # Mostly one or two endmembers in a pixel, as in a scene
    a = torch.rand(size.endmembers, size.side, size.side, generator=generator).pow(4)
    image = torch.einsum("br,rhw->bhw", M, a / a.sum(dim=0))
    noise = torch.randn(image.shape, generator=generator) / size.bands**0.5

    return image + 0.01 * noise, M


def stages(
    size: Size, *, rounds: int = 5, steps: int = 2, device: torch.device | str = "cpu"
) -> dict[str, Callable[[], Any]]:
    r"""Prepares the stages of `smile_core.unmix` in mode `self`, each to be run on its own.

    Args:
        size: The size of the problem.
        rounds: The number of rounds of the archetypes.
        steps: The number of training steps, to which the cost is proportional. There is no
            rehearsal.
        device: The device of archetypes and training.

    Returns:
        The stages by their names, `STAGES`: functions without arguments.
    """
    image, M = scene(size)
    a, brightness, _ = unmix_pixels(image, M)
    a_hr, brightness_hr = lift(a, brightness, size.scale)
    up, factors = Level(image, a_hr, brightness_hr), factors_of(size.scale)
    pixels, area = (x.to(device) for x in candidates(image))
    pairs = material(image, M, factors, "share", 0)
    options = {"channels": 32, "learning_rate": 3e-3, "seed": 0, "device": torch.device(device)}
    weights = {"guidance": 1.0, "mu": 0.1, "alternations": 0}

    return {
        "endmembers": lambda: archetypes(
            pixels, size.endmembers, area=area, restarts=size.restarts, rounds=rounds
        ),
        "solve": lambda: unmix_pixels(image, M),
        "training": lambda: learn(pairs, M, factors[0], steps=steps, **options),
        "refinement": lambda: refine(image, up, M, "share", **weights),
    }


def run(stage: str, size: Size, rounds: int = 5, steps: int = 2) -> None:
    r"""Prepares and runs one of `stages` on the CPU, such as in a process of its own."""
    stages(size, rounds=rounds, steps=steps)[stage]()


def profile(size: Size, rates: Rates, *, repeats: int = 3, **options: Any) -> pd.DataFrame:
    r"""Measures each stage, and sets its floor beside it.

    Args:
        size: The size of the problem.
        rates: What the machine does in a second.
        repeats: The number of repeats, the best of which counts.
        options: The options of `stages`.

    Returns:
        A row per stage: `seconds`, `floor` and their `ratio`, and the `Work` that was counted.
    """
    rows = {}
    for name, stage in stages(size, **options).items():
        work, seconds = count(stage), time_best(stage, repeats)
        least = floor(work, rates)
        row = {"seconds": seconds, "floor": least, "ratio": seconds / least}
        rows[name] = row | work._asdict()

    return pd.DataFrame(rows).T


def sweep(
    name: str,
    values: Sequence[int],
    *,
    size: Size = DEFAULT,
    repeats: int = 3,
    counted: bool = False,
    **options: Any,
) -> pd.DataFrame:
    r"""Measures the stages over one part of the size of a problem.

    Args:
        name: The part, a field of `Size`.
        values: The values it takes.
        size: The other parts.
        repeats: The number of repeats, the best of which counts.
        counted: Whether to count operations, which do not depend on the machine, instead.
        options: The options of `stages`.

    Returns:
        The seconds, or operations, a row per value and a column per stage.
    """
    rows = [
        {
            stage: count(run).operations if counted else time_best(run, repeats)
            for stage, run in prepared.items()
        }
        for prepared in (stages(size._replace(**{name: value}), **options) for value in values)
    ]

    return pd.DataFrame(rows, index=pd.Index(values, name=name))


def exponents(costs: pd.DataFrame) -> pd.Series:
    r"""Fits the exponent of each column, and that of their sum, `total`, over the index."""
    fitted = {name: slope(costs.index, cost) for name, cost in costs.items()}
    return pd.Series(fitted | {"total": slope(costs.index, costs.sum(axis=1))})


def solving(
    numbers: Sequence[int], endmembers: Sequence[int], repeats: int = 3, bands: int = 30
) -> pd.DataFrame:
    r"""Measures the constrained solve alone.

    Args:
        numbers: The numbers of pixels, squares.
        endmembers: The numbers of endmembers.
        repeats: The number of repeats, the best of which counts.
        bands: The number of bands.

    Returns:
        The seconds, a row per number of pixels and a column per number of endmembers.
    """
    table = pd.DataFrame(index=pd.Index(numbers, name="pixels"))
    for R in endmembers:
        for number in numbers:
            image, M = scene(Size(math.isqrt(number), bands, R))
            took = time_best(lambda y=image, M=M: unmix_pixels(y, M), repeats)
            table.loc[number, f"R = {R}"] = took

    return table


def memory(sides: Sequence[int], rounds: int = 5, steps: int = 2) -> pd.DataFrame:
    r"""Measures the peak memory of each stage, on the CPU.

    Args:
        sides: The numbers of rows, and of columns.
        rounds: The number of rounds of the archetypes.
        steps: The number of training steps.

    Returns:
        The bytes, beyond those of the interpreter and its packages, a row per number of pixels
        and a column per stage.
    """
    rows = [
        {stage: peak_memory(run, stage, Size(side), rounds, steps) for stage in STAGES}
        for side in sides
    ]

    return pd.DataFrame(rows, index=pd.Index([side**2 for side in sides], name="pixels"))
