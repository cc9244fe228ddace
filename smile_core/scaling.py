r"""Scaling: what each stage costs, against the least that the machine would need for it.

The cost of a stage follows a power law, :math:`t \propto n^p`, in the pixels, bands, endmembers,
restarts or the scale; the exponent :math:`p` is the slope in logarithms. What it could cost at
best is its *floor*,

.. math:: \max \left( \frac{\text{operations}}{\text{operations per second}},
    \frac{\text{bytes}}{\text{bytes per second}} \right),

with both rates measured on the same machine. The operations are those of matrix products and
convolutions, the bytes those of all arrays that are read or written, and both are counted while
the stage runs. Bytes are taken to be in the cache, so that arrays which are not, exponentials,
and the time that it takes to begin each operation are above the floor.
"""

__all__ = [
    "DEFAULT",
    "STAGES",
    "Rates",
    "Size",
    "Work",
    "count",
    "floor",
    "measure",
    "peak_memory",
    "scene",
    "slope",
    "stages",
    "sweep",
    "time_best",
]

import math
import numpy as np
import pandas as pd
import resource
import sys
import time
import torch

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from typing import Any, NamedTuple

from .archetypes import archetypes, candidates
from .guidance import factors_of, learn, material
from .lifting import lift
from .mixing import unit, unmix_pixels
from .objective import Level
from .refinement import refine

STAGES = ("endmembers", "solve", "training", "refinement")

# Elements of the arrays that the bandwidth is measured with, in the cache; rows of the matrices
ELEMENTS, ROWS = 2**18, 1024


class Rates(NamedTuple):
    r"""What a machine does in a second.

    Args:
        bandwidth: Bytes read and written, of arrays that are in the cache.
        operations: Operations of a matrix product in single precision, two per multiplication
            with addition.
    """

    bandwidth: float
    operations: float


class Work(NamedTuple):
    r"""What a stage does.

    Args:
        operations: The operations of its matrix products and convolutions.
        moved: The bytes of the arrays that it reads and writes.
    """

    operations: float
    moved: float


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


def time_best(function: Callable[[], object], repeats: int = 3) -> float:
    r"""Returns the least seconds that a function took, of some repeats.

    What else runs on the machine can only add to it. A GPU is waited for.

    Args:
        function: The function.
        repeats: The number of repeats, after one run that is not timed.
    """
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)

    return min(times[1:])


def measure(device: torch.device | str = "cpu", repeats: int = 20) -> Rates:
    r"""Measures what a machine does in a second, with the number of threads that torch has.

    Args:
        device: The device.
        repeats: The number of repeats, the best of which counts.

    Returns:
        The rates.
    """
    x = torch.ones(ELEMENTS, device=device)
    out = torch.empty_like(x)
    A = torch.ones(ROWS, ROWS, device=device)
    product = torch.empty_like(A)

    def add() -> None:
        for _ in range(10):
            torch.add(x, x, out=out)

    # Both operands of the sum are the same array, which is read once
    moved = 10 * 2 * x.nbytes / time_best(add, repeats)
    operations = 2 * ROWS**3 / time_best(lambda: torch.mm(A, A, out=product), repeats)

    return Rates(moved, operations)


def count(function: Callable[[], object]) -> Work:
    r"""Counts what a function does, while it runs once.

    Args:
        function: The function.
    """
    in_place = {torch.ops.aten.baddbmm_: _products}  # unknown to the counter
    operations = FlopCounterMode(display=False, custom_mapping=in_place)
    with operations, _Traffic() as traffic:
        function()

    return Work(float(operations.get_total_flops()), float(traffic.bytes))


def floor(work: Work, rates: Rates) -> float:
    r"""Returns the least seconds that a machine would need for some work.

    Args:
        work: What is to be done.
        rates: What the machine does in a second.
    """
    return max(work.operations / rates.operations, work.moved / rates.bandwidth)


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


def sweep(
    name: str,
    values: Sequence[int],
    *,
    size: Size = DEFAULT,
    repeats: int = 3,
    **options: Any,
) -> pd.DataFrame:
    r"""Measures the stages over one part of the size of a problem.

    Args:
        name: The part, a field of `Size`.
        values: The values it takes.
        size: The other parts.
        repeats: The number of repeats, the best of which counts.
        options: The options of `stages`.

    Returns:
        The seconds, a row per value and a column per stage.
    """
    rows = [
        {stage: time_best(run, repeats) for stage, run in prepared.items()}
        for prepared in (stages(size._replace(**{name: value}), **options) for value in values)
    ]

    return pd.DataFrame(rows, index=pd.Index(values, name=name))


def peak_memory(function: Callable[..., object], *args: object) -> float:
    r"""Returns by how many bytes a function raises the peak memory of a process of its own.

    Args:
        function: The function, of a module, for it is found by its name.
        args: Its arguments.
    """
    # Of a server, for a child of this process would begin with the peak of this one
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        return pool.submit(_grown, function, args).result()


def _grown(function: Callable[..., object], args: tuple[object, ...]) -> float:
    before = _peak()
    function(*args)

    return _peak() - before


def _peak() -> float:
    # In kilobytes, but on macOS in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1.0 if sys.platform == "darwin" else 1024.0)


def _products(_: Sequence[int], a: Sequence[int], b: Sequence[int], **options: Any) -> int:
    # The operations of a batch of products, of the shapes of its factors
    return 2 * math.prod(a) * b[-1]


class _Traffic(TorchDispatchMode):
    # The bytes of what operations read and write; views move nothing
    def __init__(self) -> None:
        super().__init__()

        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if not func.is_view:
            arrays = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
            self.bytes += sum(math.prod(x.shape) * x.element_size() for x in arrays)

        return out
