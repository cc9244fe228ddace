r"""Rates: how fast the accessible solve of a scene converges, and what it changes.

The stages of `smile_core.unmix` are run up to the accessible solve, which then can be repeated
with other weights, and watched. With the Lipschitz constant :math:`L`, the modulus :math:`m` and
the minimiser :math:`A^*` of the problem, plain projected gradient steps contract by :math:`1 - m /
L`, and the iterates :math:`A_k` satisfy

.. math:: F_\mu(A_k) - F_\mu(A^*) \leq \tfrac{L - m}{2} \left( 1 - \tfrac{m}{L} \right)^{2 (k - 1)}
    \|A_0 - A^*\|^2

for :math:`k \geq 1`. Accelerated ones, without restarts, are below :math:`2 L \|A_0 - A^*\|^2 / (k
+ 1)^2`. The first is proved in notebook 11, the second is standard.
"""

__all__ = [
    "Start",
    "accuracy",
    "begin",
    "conditioning",
    "descent",
    "distances",
    "envelopes",
    "finish",
    "pose",
]

import numpy as np
import pandas as pd
import torch

from collections.abc import Sequence
from torch import Tensor
from typing import NamedTuple

from .. import refinement
from ..accessible import Problem, energy, gradient, lipschitz, modulus, objective, solve
from ..archetypes import Archetypes
from ..degradation import degrade
from ..endmembers import find_endmembers
from ..guidance import bring_up, guide
from ..metrics import armse, match
from ..mixing import project_simplex, unit, unmix_pixels
from ..objective import Level
from ..refinement import Refined, refine
from ..scenes import Scene
from ..unmixing import Settings, find_device
from .experiments import reference


class Start(NamedTuple):
    r"""Where the accessible solve of a scene starts from, in the convention `share`.

    Args:
        image: The LR image, with pixels of about unit norm, with shape (B, h, w).
        up: The HR abundances and brightness that the network has arrived at.
        M: The endmembers, of unit norm, with shape (B, R).
        found: The archetypes, `None` if the endmembers are corners of a simplex.
        history: The history of restarts, rehearsal and training.
    """

    image: Tensor
    up: Level
    M: Tensor
    found: Archetypes | None
    history: dict[str, list[float]]


def begin(
    image: Tensor,
    R: int,
    scale: int,
    *,
    seed: int = 0,
    settings: Settings = Settings(),
    device: str = "auto",
) -> Start:
    r"""Runs the stages of `smile_core.unmix` in mode `self`, up to the accessible solve.

    Args:
        image: The image, without dead pixels, with shape (B, h, w).
        R: The number of endmembers.
        scale: The scale factor.
        seed: The seed.
        settings: The hyper-parameters.
        device: The device.

    Returns:
        The start. Where the guide does not help, so that `smile_core.unmix` would stop there, it
        is that of lifting alone.

    Raises:
        ValueError: If there is a dead pixel.
    """
    if not (image.sum(dim=0) > 0).all():
        raise ValueError("The image should have no dead pixel, whose sum is not positive.")
    torch_device = find_device(device)
    Y = image / image.double().norm(dim=0).mean()

    options = {"restarts": settings.restarts, "rounds": settings.rounds}
    endmembers = find_endmembers(Y, R, "share", seed=seed, device=torch_device, **options)
    M = unit(endmembers.M)
    level = Level(Y, *unmix_pixels(Y, M)[:2])
    up, _, learned = guide(
        level,
        M,
        scale,
        "share",
        channels=settings.channels,
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        seed=seed,
        device=torch_device,
    )
    if up is None:
        up = bring_up(level, scale)

    return Start(Y, up, M, endmembers.found, endmembers.history | learned)


def finish(start: Start, *, guidance: float, mu: float, alternations: int) -> Refined:
    r"""Runs the accessible solve.

    Args:
        start: Where it starts from.
        guidance: The weight :math:`\lambda` of the SR task.
        mu: The weight :math:`\mu` of staying near the network's abundances.
        alternations: The number of alternating steps.
    """
    return refine(
        start.image,
        start.up,
        start.M,
        "share",
        guidance=guidance,
        mu=mu,
        alternations=alternations,
        found=start.found,
    )


def pose(start: Start, *, guidance: float, mu: float) -> tuple[Problem, Tensor, Tensor]:
    r"""Poses the problem that `finish` solves, see `smile_core.refinement`.

    Args:
        start: Where it starts from.
        guidance: The weight :math:`\lambda` of the SR task.
        mu: The weight :math:`\mu` of staying near the network's abundances.

    Returns:
        The problem, the candidates :math:`V`, with shape (B, P), and their weights :math:`W`, with
        shape (P, R), in float64. The endmembers are :math:`V W`; corners of a simplex are their
        own candidates.
    """
    weights = {"guidance": guidance, "mu": mu}
    problem, M, size = refinement.pose(start.image, start.up, start.M, "share", **weights)
    if start.found is None:
        return problem, M, torch.eye(M.shape[1]).to(M)

    return problem, *refinement.candidates_of(start.found, size)


def distances(
    problem: Problem, M: Tensor, a: Tensor, best: Tensor, *, iterations: int
) -> list[float]:
    r"""Follows plain projected gradient, and measures how far it still is.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        a: The abundances to start from, with shape (R, H, W).
        best: The minimiser, with shape (R, H, W).
        iterations: The number of iterations.

    Returns:
        The distances :math:`\|A_k - A^*\|`, at the start and after each iteration.
    """
    L, found = lipschitz(problem, M), [float((a - best).norm())]
    for _ in range(iterations):
        a = project_simplex(a - gradient(problem, M, a) / L)
        found.append(float((a - best).norm()))

    return found


def envelopes(problem: Problem, M: Tensor, distance: float, iterations: int) -> dict[str, Tensor]:
    r"""Bounds what is left of the objective after each iteration.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        distance: The distance :math:`\|A_0 - A^*\|` of the start.
        iterations: The number of iterations.

    Returns:
        The bounds for :math:`k = 1, 2, \dots` of `plain` steps and of `accelerated` ones without
        restarts, each with shape (iterations,).
    """
    L, m = lipschitz(problem, M), modulus(problem, M)
    k = torch.arange(1, iterations + 1, dtype=torch.float64)

    return {
        "plain": (L - m) / 2 * (1 - m / L) ** (2 * (k - 1)) * distance**2,
        "accelerated": 2 * L * distance**2 / (k + 1) ** 2,
    }


def descent(problem: Problem, M: Tensor, *, iterations: int) -> pd.DataFrame:
    r"""Solves for the abundances from equal ones, and measures every iteration.

    The minimiser is that of accelerated steps, as near as rounding lets them come.

    Args:
        problem: The problem.
        M: The endmembers, with shape (B, R).
        iterations: The number of iterations.

    Returns:
        A row for each `method`, `plain` or `accelerated`, and each `iteration`, from one on: what
        is `left` of the objective, and its `bound` as in `envelopes`, relative to the energy; the
        `gap`, relative to the objective; and the `contraction` of the distance by a plain step,
        NaN once so little of it is left, 1e-4, that the error of the minimiser shows.
    """
    equal = torch.full_like(problem.a, 1 / len(problem.a))
    best = solve(problem, M, tolerance=1e-15, iterations=max(500, 4 * iterations)).a
    least, total = float(objective(problem, M, best)), float(energy(problem).sum())
    far = np.array(distances(problem, M, equal, best, iterations=iterations))
    bounds = envelopes(problem, M, far[0], iterations)

    tables = []
    for method, bound in bounds.items():
        options = {"iterations": iterations, "accelerated": method == "accelerated"}
        solution = solve(problem, M, equal, tolerance=0.0, **options)
        F, gap = np.array(solution.objective)[1:], np.array(solution.gap)[1:]
        n = len(F)
        table = pd.DataFrame({"method": method, "iteration": 1 + np.arange(n)})
        table["left"], table["bound"] = (F - least) / total, bound.numpy()[:n] / total
        table["gap"] = gap / F
        if method == "plain":
            near = far[1:] < 1e-4 * far[0]
            table["contraction"] = np.where(near, np.nan, far[1:] / far[:-1])[:n]
        tables.append(table)

    return pd.concat(tables, ignore_index=True)


def conditioning(
    problem: Problem,
    M: Tensor,
    guidances: Sequence[float],
    mus: Sequence[float],
    *,
    tolerance: float = 1e-6,
    iterations: int = 2000,
) -> pd.DataFrame:
    r"""Compares weights by the condition of the problem, and by the iterations that they take.

    The abundances are solved for from equal ones, by accelerated steps.

    Args:
        problem: The problem, but for its weights.
        M: The endmembers, with shape (B, R).
        guidances: The weights :math:`\lambda`.
        mus: The weights :math:`\mu`.
        tolerance: The gap to stop at, relative to the objective.
        iterations: The largest number of iterations.

    Returns:
        A row for each pair of weights: `guidance`, `mu`, the `condition` :math:`L / m`, the
        `iterations`, and whether the tolerance was `reached` before the last of them.
    """
    equal = torch.full_like(problem.a, 1 / len(problem.a))
    rows = []
    for mu in mus:
        for guidance in guidances:
            weighted = problem._replace(guidance=guidance, mu=mu)
            options = {"tolerance": tolerance, "iterations": iterations}
            solution = solve(weighted, M, equal, **options)
            rows.append(
                {
                    "guidance": guidance,
                    "mu": mu,
                    "condition": float(lipschitz(weighted, M) / modulus(weighted, M)),
                    "iterations": len(solution.gap) - 1,
                    "reached": len(solution.gap) - 1 < iterations,
                }
            )

    return pd.DataFrame(rows)


def accuracy(scene: Scene, start: Start, mus: Sequence[float], settings: Settings) -> pd.DataFrame:
    r"""Compares errors of the abundances before and after the accessible solve.

    Args:
        scene: The HR scene, with a reference.
        start: Where the solve starts from, of the scene brought down.
        mus: The weights :math:`\mu` to compare.
        settings: The other weights.

    Returns:
        A row for each weight: `mu`; the root mean square errors `lr` and `hr` after the solve,
        and `lr_before` and `hr_before`.
    """
    a_ref, scale = reference(scene), start.up.a.shape[-1] // start.image.shape[-1]

    def errors(M: Tensor, a: Tensor) -> tuple[float, float]:
        a = a[match(M, scene.M)[0]]
        return float(armse(degrade(a, scale), degrade(a_ref, scale))), float(armse(a, a_ref))

    lr_before, hr_before = errors(start.M, start.up.a)
    rows = []
    for mu in mus:
        options = {"guidance": settings.guidance, "alternations": settings.alternations}
        refined = finish(start, mu=mu, **options)
        lr, hr = errors(refined.M, refined.a)
        rows.append({"mu": mu, "lr": lr, "hr": hr, "lr_before": lr_before, "hr_before": hr_before})

    return pd.DataFrame(rows)
