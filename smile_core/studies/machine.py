r"""Machine: what it does in a second, what a function asks of it, and the least that this takes.

The *floor* of a function is the time in which the machine would do its operations, or move its
bytes, whichever is longer,

.. math:: \max \left( \frac{\text{operations}}{\text{operations per second}},
    \frac{\text{bytes}}{\text{bytes per second}} \right),

with both rates measured on the same machine. The operations are those of matrix products and
convolutions, the bytes those of all arrays that are read or written, and both are counted while
the function runs. Bytes are taken to be in the cache, so that arrays which are not, exponentials,
and the time that it takes to begin each operation are above the floor.
"""

__all__ = ["Rates", "Work", "count", "floor", "measure", "peak_memory", "time_best"]

import math
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


def time_best(function: Callable[[], object], repeats: int = 3) -> float:
    r"""Returns the least seconds that a function took, of some repeats.

    What else runs on the machine can only add to it. With one thread and no GPU, the seconds are
    those of the processor, to which it adds little; else they are those of the clock on the wall,
    and a GPU is waited for.

    Args:
        function: The function.
        repeats: The number of repeats, after one run that is not timed.
    """
    gpu = torch.cuda.is_available()
    clock = time.process_time if torch.get_num_threads() == 1 and not gpu else time.perf_counter

    times = []
    for _ in range(repeats + 1):
        start = clock()
        function()
        if gpu:
            torch.cuda.synchronize()
        times.append(clock() - start)

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


def peak_memory(function: Callable[..., object], *args: object) -> float:
    r"""Returns by how many bytes a function raises the peak memory of a process of its own.

    Args:
        function: The function, of a module, for it is found by its name.
        args: Its arguments.
    """
    # Of a server, for a child of this process would begin with the peak of this one
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
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
