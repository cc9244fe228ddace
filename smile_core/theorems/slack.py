r"""Slack of a statement, and what happens outside its hypotheses.

The slack of an inequality :math:`l \leq r` is :math:`(r - l) / s` at a size :math:`s`, the
right-hand side unless said otherwise: where it is not negative, up to rounding, the inequality
holds, and its value says by how much. An equation :math:`u = v` is the inequality
:math:`\|u - v\| \leq 0` at the size of :math:`\|v\|`.

A statement that is called outside of its hypotheses raises an error that names the one that fails.
To see what then becomes of the conclusion, statements take `require=False`.
"""

__all__ = ["ROUNDING", "OutsideHypotheses", "applicable", "check_arrays", "slack"]

import contextlib
import torch

from collections.abc import Callable, Mapping
from torch import Tensor

#: What lies nearer to zero than that is rounding, in float64.
ROUNDING = 1e-12


class OutsideHypotheses(ValueError):
    r"""Raised where a statement says nothing, for one of its hypotheses does not hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Outside of the hypotheses: {reason}.")


def slack(
    left: Tensor | float, right: Tensor | float, size: Tensor | float | None = None
) -> Tensor:
    r"""Returns the relative slack of :math:`l \leq r`.

    Args:
        left: The left-hand side.
        right: The right-hand side.
        size: The size :math:`s` to compare with, :math:`|r|` if `None`.

    Returns:
        The slack, without a unit, in float64; zero where sides and size are all zero.

    Raises:
        ValueError: If a side is not finite.
    """
    left, right = (torch.as_tensor(side, dtype=torch.float64) for side in (left, right))
    check_arrays(left=left, right=right)
    size = right.abs() if size is None else torch.as_tensor(size, dtype=torch.float64)

    return (right - left) / size.clamp_min(torch.finfo(torch.float64).tiny)


def applicable(statements: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    r"""Evaluates those statements that their hypotheses do not exclude.

    Args:
        statements: What returns the slack of each, by label.

    Returns:
        The slacks by label.
    """
    found = {}
    for label, statement in statements.items():
        with contextlib.suppress(OutsideHypotheses):
            found[label] = statement()

    return found


def check_arrays(**arrays: Tensor) -> None:
    r"""Checks that arrays are finite.

    Raises:
        ValueError: If a value is not finite; the message names the array.
    """
    for name, array in arrays.items():
        if not array.isfinite().all():
            bad = int((~array.isfinite()).sum())
            raise ValueError(f"The {name} should be finite, got {bad} NaN or infinite values.")
