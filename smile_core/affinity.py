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

__all__ = ["Gradient", "best_share", "cosine", "dot", "gate", "task_affinity"]

import torch

from collections.abc import Callable, Sequence
from torch import Tensor

Gradient = Sequence[Tensor]


def cosine(g: Gradient, h: Gradient) -> Tensor:
    r"""Returns the cosine of two gradients, and zero where one of them vanishes.

    Args:
        g: A gradient, a tensor for each parameter.
        h: The other, with the same shapes.
    """
    norms = dot(g, g).sqrt() * dot(h, h).sqrt()
    return dot(g, h) / norms.clamp_min(torch.finfo(g[0].dtype).tiny)


def dot(g: Gradient, h: Gradient) -> Tensor:
    r"""Returns the scalar product of two gradients.

    Args:
        g: A gradient, a tensor for each parameter.
        h: The other, with the same shapes.
    """
    return torch.stack([(a * b).sum() for a, b in zip(g, h, strict=True)]).sum()


def gate(main: Gradient, guide: Gradient) -> list[Tensor]:
    r"""Adds the gradient of the guide to that of the main task, less the part that opposes it.

    .. math:: g_u + g_s - \min \Bigl( 0, \frac{\langle g_u, g_s \rangle}{\|g_u\|^2} \Bigr) g_u

    A short step against it lowers the main loss by :math:`\|g_u\|^2` per unit at least.

    Args:
        main: The gradient of the main task.
        guide: The gradient of the guide, with the same shapes.

    Returns:
        The gated sum.
    """
    tiny = torch.finfo(main[0].dtype).tiny
    opposing = dot(main, guide).clamp_max(0) / dot(main, main).clamp_min(tiny)

    return [g + h - opposing * g for g, h in zip(main, guide, strict=True)]


@torch.no_grad()
def task_affinity(
    before: Tensor,
    loss: Callable[[], Tensor],
    parameters: Sequence[Tensor],
    g: Gradient,
    size: float = 0.01,
) -> Tensor:
    r"""Measures what a step along the gradient of one task does to the loss of the other.

    The step has the length of `size` times the norm of the parameters, whatever that of the
    gradient, so that tasks and moments of the training compare.

    Args:
        before: The loss of the other task, positive.
        loss: Evaluates it after the step.
        parameters: The shared parameters; they are left as they were.
        g: The gradient of the one task.
        size: The length of the step, relative.

    Returns:
        The affinity :math:`Z`, the share of its loss that the other task is spared.
    """
    saved = [p.clone() for p in parameters]
    norm = dot(g, g).sqrt()
    step = torch.where(norm > 0, size * dot(parameters, parameters).sqrt() / norm, 0)
    for p, h in zip(parameters, g, strict=True):
        p -= step * h
    after = loss()
    for p, value in zip(parameters, saved, strict=True):
        p.copy_(value)

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
