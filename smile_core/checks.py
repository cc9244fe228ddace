r"""Checks of what `smile_core.unmix` is given: clear errors before long work.

Each error names the argument, what was expected and what came.
"""

__all__ = [
    "DeadPixelsWarning",
    "Mode",
    "check_images",
    "check_memory",
    "check_options",
    "check_start",
    "check_unit",
    "warn_of_dead",
]

import numpy as np
import torch
import warnings

from numbers import Integral
from numpy.typing import ArrayLike
from pathlib import Path
from torch import Tensor
from typing import Literal, get_args

from .mixing import Convention
from .result import Unmixing

# What a fit takes, in bytes for each value of its image, and where Linux tells what is free
BYTES = 64
MEMORY = Path("/proc/meminfo")

Mode = Literal["single", "self", "partial", "supervised"]

# Larger numbers leave float32 no room for sums and products, nor do images so many times brighter
LARGEST, APART = 1e30, 1e12


class DeadPixelsWarning(UserWarning):
    r"""Says that pixels were left out, for there is no light in them."""


def check_options(mode: str, convention: str, scale: int, seed: int, threads: int | None) -> None:
    r"""Checks the options of `smile_core.unmix`.

    Raises:
        ValueError: If one is unknown or out of range.
    """
    for name, value, options in (
        ("mode", mode, get_args(Mode)),
        ("convention", convention, ("auto", *get_args(Convention))),
    ):
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"The {name} should be one of {options}, got {value!r}.")
    for name, number, least in (("scale", scale, 2), ("seed", seed, 0), ("threads", threads, 1)):
        if name == "threads" and number is None:
            continue
        if not _is_whole(number) or number < least:
            raise ValueError(
                f"The {name} should be a whole number of at least {least}, got {number!r}."
            )
        power = 10 if name == "threads" else 63  # of threads without end, the process dies
        if number >= 2**power:
            raise ValueError(f"The {name} should be less than 2^{power}, got {number}.")


def check_images(
    image: ArrayLike | Tensor,
    endmembers: int | str | ArrayLike | Tensor,
    scale: int,
    mode: str,
    hr: ArrayLike | Tensor | None,
    hr_mask: ArrayLike | Tensor | None,
    *,
    lit: bool = True,
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    r"""Checks the images of `smile_core.unmix` and makes tensors of them, on the CPU.

    With `lit`, some pixel of the image has to be alive; a tile of a large image can do without.

    Returns:
        The image; the endmembers, `None` if they are to be found; the HR image, zero where it is
        hidden, and its mask, `None` if there is none.

    Raises:
        ValueError: If shapes disagree, values are not finite or too large, or there is nothing to
            unmix.
    """
    # The image
    Y = _tensor("image", image)
    if Y.ndim != 3:
        raise ValueError(f"The image should have shape (bands, rows, cols), got {tuple(Y.shape)}.")
    _check_finite("image", Y)
    B, h, w = Y.shape
    alive = int((Y.sum(dim=0) > 0).sum())

    # The endmembers
    M = None
    if isinstance(endmembers, str):
        if endmembers != "auto":
            raise ValueError(
                "The endmembers should be a whole number, 'auto', or an array with shape "
                f"({B}, R), got {endmembers!r}."
            )
        if not alive:
            raise ValueError("The image has no pixel whose sum over the bands is positive.")
    elif _is_whole(endmembers):
        if not 1 <= endmembers <= min(B, alive):
            raise ValueError(
                "The number of endmembers should be at least 1 and at most that of the bands and "
                f"of the pixels with light, got {endmembers} for {B} bands and {alive} such "
                f"pixels, in an image read as (bands, rows, cols) = ({B}, {h}, {w})."
            )
    else:
        M = _tensor("endmembers", endmembers)
        if M.ndim != 2 or M.shape[0] != B or not M.shape[1]:
            raise ValueError(
                "The endmembers should be a whole number, 'auto', or an array with shape "
                f"({B}, R), since the image was read as (bands, rows, cols) = ({B}, {h}, {w}); "
                f"got shape {tuple(M.shape)}."
            )
        _check_finite("endmembers", M)
        if (M.sum(dim=0) <= 0).any():
            raise ValueError("Each endmember should have a positive sum over the bands.")
        if not alive and (lit or not Y.numel()):
            raise ValueError("The image has no pixel whose sum over the bands is positive.")

    # The HR image
    if mode not in ("partial", "supervised"):
        if hr is not None or hr_mask is not None:
            raise ValueError(f"The mode '{mode}' sees no HR image, but hr or hr_mask was given.")
        return Y, M, None, None
    if hr is None or (hr_mask is None) != (mode == "supervised"):
        raise ValueError(
            "The mode 'supervised' needs hr and no hr_mask, the mode 'partial' needs both; got "
            f"mode '{mode}', hr {'missing' if hr is None else 'given'}, "
            f"hr_mask {'missing' if hr_mask is None else 'given'}."
        )

    X, mask = _tensor("hr", hr), None
    if X.shape != (B, scale * h, scale * w):
        raise ValueError(
            f"The hr image should have shape {(B, scale * h, scale * w)}, {scale} times the rows "
            f"and cols of the image, got {tuple(X.shape)}."
        )
    if hr_mask is not None:
        mask = _tensor("hr_mask", hr_mask, dtype=None)
        if mask.dtype != torch.bool or mask.shape != X.shape[1:] or not mask.any():
            raise ValueError(
                f"The hr_mask should be boolean with shape {tuple(X.shape[1:])} and true "
                f"somewhere, got {mask.dtype} with shape {tuple(mask.shape)}."
            )
        X = torch.where(mask, X, 0)
    _check_finite("hr", X)
    if not (X.sum(dim=0) > 0).any():
        raise ValueError("The hr image shows no pixel whose sum over the bands is positive.")

    return Y, M, X, mask


def check_memory(values: int, advice: str) -> None:
    r"""Checks that there is memory for a fit, where the system tells how much there is.

    Args:
        values: The number of bands times that of pixels.
        advice: What to do if there is too little.

    Raises:
        MemoryError: If there is too little.
    """
    try:
        lines = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        free = 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # not Linux
        return

    if BYTES * values > free:
        raise MemoryError(
            f"About {BYTES * values / 1e9:.2g} GB of memory are needed, and {free / 1e9:.2g} GB "
            f"are free: {advice}."
        )


def check_unit(name: str, x: Tensor | None, level: float) -> None:
    r"""Checks that endmembers or an HR image, if given, are about as bright as the image.

    Args:
        name: The name of what is checked.
        x: What is checked.
        level: The mean norm of the pixels of the image.

    Raises:
        ValueError: If they are not, by so much that numbers would overflow or vanish.
    """
    if x is None:
        return

    largest = _largest(x)
    if not level / APART <= largest <= level * APART:
        raise ValueError(
            f"The {name} should be in the unit of the image, got numbers up to {largest:.1e}, and "
            f"pixels of the mean norm {level:.1e}."
        )


def check_start(start: object, Y: Tensor, endmembers: int | str) -> int | None:
    r"""Checks that a result to start from has the bands and the number of endmembers.

    Returns:
        The number of endmembers, `None` if it is to be estimated.

    Raises:
        ValueError: If it does not.
    """
    R = None if endmembers == "auto" else int(endmembers)
    if start is None:
        return R

    if not isinstance(start, Unmixing):
        raise ValueError(f"The start should be of class Unmixing, got {type(start).__name__}.")
    B, R_start = start.M.shape
    if len(Y) != B or R not in (None, R_start):
        raise ValueError(
            f"The start should have the {len(Y)} bands of the image and {R} endmembers, got "
            f"{B} bands and {R_start} endmembers."
        )
    alive = int((Y.sum(dim=0) > 0).sum())
    if R_start > alive:
        raise ValueError(
            "The start should have no more endmembers than the image has pixels with light, "
            f"{alive}, got {R_start}."
        )

    return R_start


def warn_of_dead(dead: int, pixels: int) -> None:
    r"""Warns the caller of the caller, if there are dead pixels among so many."""
    if dead:
        warnings.warn(
            f"{dead} of {pixels} pixels are dead: their sum over the bands is not positive. They "
            "were left out, and got abundances 1 / R.",
            DeadPixelsWarning,
            stacklevel=3,
        )


def _is_whole(x: object) -> bool:
    return isinstance(x, Integral) and not isinstance(x, bool)  # those of NumPy as well


def _tensor(name: str, x: ArrayLike | Tensor, dtype: torch.dtype | None = torch.float32) -> Tensor:
    try:
        if not isinstance(x, Tensor):
            x = np.array(x)
            # Of the bytes as well, where they come from a file
            x = torch.as_tensor(x.astype(x.dtype.newbyteorder("="), copy=False))
        if x.is_complex():
            raise TypeError("complex numbers")
        return x.detach().to("cpu", dtype).contiguous()  # the order of sums is that of memory
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The {name} should be an array of real numbers: {error}.") from error


def _check_finite(name: str, x: Tensor) -> None:
    bad = ~x.isfinite()
    if bad.any():
        raise ValueError(
            f"The {name} should be finite, got {int(bad.sum())} NaN or infinite values, the first "
            f"at index {tuple(bad.nonzero()[0].tolist())}."
        )
    if x.numel() and _largest(x) > LARGEST:
        raise ValueError(
            f"The {name} should be of numbers up to {LARGEST:.0e}, got {_largest(x):.1e}."
        )


def _largest(x: Tensor) -> float:
    return float(max(map(abs, torch.aminmax(x))))
