r"""Weighting: how the gradients of the two tasks become one update.

On the parameters that the tasks share, the gradients :math:`g_u` of unmixing and :math:`g_s` of
its guide have to be combined. Their `sum` is the default: the others make no difference that
counts (notebook 12).

=============== ===================================================================================
`sum`           :math:`g_u + g_s`
`gate`          the sum, less the part of the guide that opposes unmixing, the main task; see
                `smile_core.affinity`
`uncertainty`   that of :math:`\sum_i \frac{1}{2 \sigma_i^2} L_i + \log \sigma_i` over both
                losses; the variances :math:`\sigma_i^2` are learned with the network
`pcgrad`        the sum, each gradient less the part of it that opposes the other
`mgda`          the shortest convex combination :math:`\gamma g_u + (1 - \gamma) g_s`, which
                neither task is opposed to
=============== ===================================================================================

References:
    | Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics
    | (Kendall et al., 2018), https://arxiv.org/abs/1705.07115
    | Gradient Surgery for Multi-Task Learning (Yu et al., 2020)
    | https://arxiv.org/abs/2001.06782
    | Multi-Task Learning as Multi-Objective Optimization (Sener, Koltun, 2018)
    | https://arxiv.org/abs/1810.04650
"""

__all__ = ["WEIGHTINGS", "combine", "mgda", "pcgrad", "uncertain"]

import torch

from torch import Tensor

from .affinity import gate

WEIGHTINGS = ("sum", "gate", "uncertainty", "pcgrad", "mgda")


def combine(main: Tensor, guide: Tensor, weighting: str) -> Tensor:
    r"""Combines the gradients of the two tasks on the parameters that they share.

    Args:
        main: The gradient of unmixing, with shape (P,).
        guide: The gradient of its guide, with shape (P,).
        weighting: One of `WEIGHTINGS`. With `uncertainty`, the losses have their weights already.

    Returns:
        The gradient to follow, with shape (P,).
    """
    rules = {"gate": gate, "pcgrad": pcgrad, "mgda": mgda}
    return rules[weighting](main, guide) if weighting in rules else main + guide


def uncertain(losses: dict[str, Tensor], log_variances: Tensor) -> dict[str, Tensor]:
    r"""Weighs losses by their uncertainty.

    .. math:: \tfrac{1}{2} \bigl( e^{-s_i} L_i + s_i \bigr), \qquad s_i = \log \sigma_i^2,

    smallest where :math:`\sigma_i^2 = L_i`.

    Args:
        losses: The losses, scalars, by name.
        log_variances: The logarithms :math:`s_i`, one for each loss.

    Returns:
        The weighed losses, by the same names.
    """
    pairs = zip(losses.items(), log_variances, strict=True)
    return {name: ((-s).exp() * loss + s) / 2 for (name, loss), s in pairs}


def pcgrad(g: Tensor, h: Tensor) -> Tensor:
    r"""Adds two gradients, each projected on the normal plane of the other if they conflict.

    Args:
        g: A gradient, with shape (P,).
        h: The other, with shape (P,).

    Returns:
        The sum of the two projections, with shape (P,).
    """
    conflict = (g @ h).clamp_max(0)
    of_g, of_h = (1 - conflict / (x @ x).clamp_min(torch.finfo(x.dtype).tiny) for x in (g, h))

    return of_g * g + of_h * h


def mgda(g: Tensor, h: Tensor) -> Tensor:
    r"""Returns the shortest vector between two gradients.

    .. math:: \gamma g + (1 - \gamma) h, \qquad
        \gamma = \frac{\langle h - g, h \rangle}{\|h - g\|^2} \text{ clipped to } [0, 1]

    Args:
        g: A gradient, with shape (P,).
        h: The other, with shape (P,).

    Returns:
        The point of the segment from one to the other that is nearest to the origin.
    """
    length = (h - g).square().sum().clamp_min(torch.finfo(g.dtype).tiny)
    gamma = ((h - g) @ h / length).clamp(0, 1)

    return gamma * g + (1 - gamma) * h
