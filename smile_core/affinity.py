r"""Affinity of the two tasks: does super-resolution pull where unmixing pulls?

Measured on the parameters :math:`\theta` that the tasks share, with the gradients :math:`g_u` of
unmixing and :math:`g_s` of its guide, super-resolution:

- the *cosine* of the two; where it is negative the tasks are in *conflict*;
- *task affinity*, what a step along the gradient of one task does to the loss of the other,
  :math:`Z_{s \to u} = 1 - L_u(\theta - \eta g_s) / L_u(\theta)`, positive where it helps.

And, by choice, enforced: where the two are in conflict, the *gate* takes from the gradient of the
guide the part that opposes unmixing, so that, to first order, unmixing never pays for its guide.
How far to follow the guide in the end is a *share*, the best one of the existence theorem, from
errors on data.

References:
    | Adapting Auxiliary Losses Using Gradient Similarity (Du et al., 2018)
    | https://arxiv.org/abs/1812.02224
    | Gradient Surgery for Multi-Task Learning (Yu et al., 2020)
    | https://arxiv.org/abs/2001.06782
    | Efficiently Identifying Task Groupings for Multi-Task Learning (Fifty et al., 2021)
    | https://arxiv.org/abs/2109.04617
"""

__all__ = ["best_share", "cosine", "divide", "gate", "task_affinity"]

import torch

from collections.abc import Callable, Sequence
from torch import Tensor
from torch.nn.utils import parameters_to_vector


def cosine(g: Tensor, h: Tensor) -> Tensor:
    r"""Computes the cosine of two gradients, zero if one of them is.

    Args:
        g: A gradient of all shared parameters, in one vector, with shape (P,).
        h: The other, with shape (P,).
    """
    return g @ h / (g.norm() * h.norm()).clamp_min(torch.finfo(g.dtype).tiny)


def gate(main: Tensor, guide: Tensor) -> Tensor:
    r"""Adds the gradient of the guide to that of the main task, less the part that opposes it.

    .. math:: g_u + g_s - \min \Bigl( 0, \frac{\langle g_u, g_s \rangle}{\|g_u\|^2} \Bigr) g_u

    A short step against it lowers the main loss by :math:`\|g_u\|^2` per unit at least.

    Args:
        main: The gradient of the main task, with shape (P,).
        guide: The gradient of the guide, with shape (P,).

    Returns:
        The gated sum, with shape (P,).
    """
    opposing = (main @ guide).clamp_max(0) / (main @ main).clamp_min(torch.finfo(main.dtype).tiny)
    return main + guide - opposing * main


@torch.no_grad()
def task_affinity(
    before: Tensor,
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    g: Tensor,
    size: float = 0.01,
) -> Tensor:
    r"""Measures what a step along the gradient of one task does to the loss of the other.

    The step has the length of `size` times the norm of the parameters, whatever that of the
    gradient, so that tasks and moments of the training compare.

    Args:
        before: The loss of the other task, positive.
        loss: Evaluates it after the step.
        parameters: The shared parameters; they are left as they were.
        g: The gradient of the one task, in one vector in the order of the parameters, with shape
            (P,).
        size: The length of the step, relative.

    Returns:
        The affinity :math:`Z`, the share of its loss that the other task is spared.
    """
    saved = parameters_to_vector(parameters)
    length, norm = saved.norm(), g.norm()
    step = torch.where(norm > 0, size * length / norm, 0)
    _assign(parameters, saved - step * g)
    after = loss()
    _assign(parameters, saved)

    return 1 - after / before


def best_share(alone: Tensor, guided: Tensor, truth: Tensor) -> float:
    r"""Returns how far to go from one estimate to the other, by their errors.

    .. math:: \frac{\lambda^*}{1 + \lambda^*} = \frac{v_u - c}{v_u + m - 2 c},

    with :math:`v_u` and :math:`m` the mean squared errors of the two, and :math:`c` the mean of
    the product of their errors: the best weight :math:`\lambda^*` of the existence theorem as the
    share of the guided estimate. Zero where :math:`c \geq v_u`, and the guide does not help.

    Args:
        alone: The estimate without the guide, with shape (R, \*).
        guided: The estimate with it, with shape (R, \*).
        truth: What they estimate, with shape (R, \*).

    Returns:
        The share, in [0, 1].
    """
    difference = alone - guided
    share = ((alone - truth) * difference).sum() / difference.square().sum()

    return float(share.nan_to_num(0).clamp(0, 1))


def divide(vector: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    r"""Divides a vector of all parameters into parts with their shapes, which share its memory.

    Args:
        vector: The vector, with shape (P,).
        parameters: The parameters, in its order.
    """
    parts = vector.split([p.numel() for p in parameters])
    return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]


def _assign(parameters: Sequence[Tensor], vector: Tensor) -> None:
    # In place, unlike torch's own, so that tensors which share the memory follow
    for p, part in zip(parameters, divide(vector, parameters), strict=True):
        p.copy_(part)
