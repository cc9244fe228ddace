r"""A GPU that is pretended, for tests where there is none.

Its tensors are computed with on the CPU, but say that they are on ``cuda:0``, and refuse to be
mixed with others as those of a GPU do. So tests can tell where data are moved, and which steps
wait for the device; not how fast a real one is.

How exact one is can be pretended as well: in `OtherRounding` convolutions see their input as
TensorFloat-32, as they do on a GPU by default, and sums come out with other errors, relative to
the size of their terms.
"""

__all__ = ["GPU", "OtherRounding", "PretendedGPU", "pretend"]

import pytest
import torch

from collections import Counter
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from typing import Any

aten = torch.ops.aten
GPU = torch.device("cuda", 0)

# What a program cannot go on without: the number or the size that the device finds
READS = {
    aten._linalg_check_errors.default,
    aten._linalg_eigh.default,
    aten._local_scalar_dense.default,
    aten._unique2.default,
    aten.allclose.default,
    aten.equal.default,
    aten.is_nonzero.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
}

# These may be called with tensors of both: indices, too, come from anywhere
MOVES = {aten._to_copy.default, aten.copy_.default, aten.index.Tensor}

# What rounds its input on a GPU, and what sums up in an order of its own
CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default}
SUMS = {
    *CONVOLUTIONS,
    aten.bmm.default,
    aten.dot.default,
    aten.mean.dim,
    aten.mm.default,
    aten.mv.default,
    aten.sum.default,
    aten.sum.dim_IntList,
}


class PretendedTensor(Tensor):
    r"""A tensor that says that it is on the GPU."""

    def __new__(cls, held: Tensor) -> "PretendedTensor":
        kind = {"strides": held.stride(), "dtype": held.dtype, "device": "meta"}
        tensor = Tensor._make_wrapper_subclass(cls, held.shape, **kind)
        tensor.held = held
        return tensor

    @property
    def device(self) -> torch.device:
        return GPU

    def tolist(self) -> list[Any]:
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f"PretendedTensor({self.held!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, *_: Any, **__: Any) -> Any:
        raise RuntimeError(f"{function} was called outside of the pretended GPU.")


class PretendedGPU(TorchDispatchMode):
    r"""A block of code in which there is one, see `pretend`.

    Attributes:
        calls: How many operations were called on it, views among them.
        waits: How often the program waited for it, by the operation.
    """

    def __init__(self) -> None:
        super().__init__()

        self.calls = 0
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        there = [t for t in tensors if isinstance(t, PretendedTensor)]
        here = [t for t in tensors if not isinstance(t, PretendedTensor)]
        if there and function not in MOVES and any(t.dim() for t in here):
            raise RuntimeError(f"{function} was called with tensors of both devices.")

        # In C++, a pretended tensor is on `meta`, and so is what follows it there
        device = kwargs.get("device")
        ends_there = bool(there)
        if function is aten.copy_.default:
            ends_there = isinstance(args[0], PretendedTensor)
        elif device is not None:
            ends_there = torch.device(device).type in ("cuda", "meta")
            kwargs["device"] = torch.device("cpu")

        if there or ends_there:
            self.calls += 1
        if there and (function in READS or not ends_there or _is_masked(function, args)):
            self.waits[str(function)] += 1

        back = {id(t.held): t for t in there}

        def leave(t: Any) -> Any:
            return t.held if isinstance(t, PretendedTensor) else t

        def enter(t: Any) -> Any:
            if not isinstance(t, Tensor) or not ends_there:
                return t
            return back[id(t)] if id(t) in back else PretendedTensor(t)

        return tree_map(enter, function(*tree_map(leave, args), **tree_map(leave, kwargs)))


def _is_masked(function: Any, args: Any) -> bool:
    # The size of what a mask picks is known to the device alone
    masks = args[1] if function in (aten.index.Tensor, aten.index_put_.default) else []
    return any(i is not None and i.dtype == torch.bool for i in masks)


def pretend(monkeypatch: pytest.MonkeyPatch) -> PretendedGPU:
    r"""Returns a GPU to enter, with what would look for a real one switched off for the test."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # Where a module is moved its parameters become others, for their class changes
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)

    return PretendedGPU()


class OtherRounding(TorchDispatchMode):
    r"""A block of code in which float32 is rounded otherwise.

    Args:
        seed: The seed of the errors.
        size: Their largest size, relative to the sum of the sizes of all terms.
    """

    def __init__(self, seed: int = 0, size: float = 2.0**-23) -> None:
        super().__init__()

        self.generator = torch.Generator().manual_seed(seed)
        self.size = size

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in CONVOLUTIONS:
            args = tuple(_to_tensor_float(x) for x in args)
        out = function(*args, **(kwargs or {}))
        if function not in SUMS or args[0].dtype != torch.float32:
            return out

        sizes = function(*(_size(x) for x in args), **(kwargs or {}))
        for x, size in zip(tree_leaves(out), tree_leaves(sizes), strict=True):
            if isinstance(x, Tensor):
                error = 2 * torch.rand(x.shape, generator=self.generator) - 1
                x.add_(self.size * size * error)

        return out


def _size(x: Any) -> Any:
    return x.abs() if isinstance(x, Tensor) else x


def _to_tensor_float(x: Any) -> Any:
    # 13 of the 23 bits of the fraction are rounded away
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        return x
    bits = (x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF

    return bits.view(torch.float32)
