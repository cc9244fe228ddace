r"""Existence of positive guidance: when super-resolution (SR) helps unmixing, and when not.

Data are divided by a linear brightness, and :math:`D` stands for :math:`D_\rho`. Two tasks share
the abundances :math:`A`,

.. math:: L_u(A) = \frac{1}{2} \|Y - M A D\|^2, \qquad L_s(A) = \frac{1}{2} \|X_s - M A\|^2,

unmixing of the image :math:`Y`, and SR towards a target :math:`X_s`. What the target says of the
LR image differs from it by :math:`\delta = Y - X_s D`, and it is *consistent* where
:math:`M^\top \delta = 0`. What it asks for is :math:`G = M^\top (X_s - M A) D` at LR.

1.  The gradients in the abundances never oppose each other, if the target is consistent.
2.  Then a step for SR is, brought down, a step for unmixing.
3.  With noise, some weight of SR helps if and only if its errors do not copy those of unmixing.
4.  Consistency alone changes nothing in the LR abundances.
5.  Where gradients are not those in the abundances, affinity has to be measured and enforced.

The name of the theorem is the paper's (abstract), statements and proofs are ours, in full in the
notebook 04. Statement 3 is in `smile_core.theorems.blending`.
"""

__all__ = [
    "Tasks",
    "affinity",
    "affinity_identity",
    "consistency_alone",
    "gated",
    "guided_step",
    "guided_step_identity",
    "joint_weight",
    "largest_step",
    "make_tasks",
    "slacks",
    "violating",
]

import torch

from collections.abc import Callable
from functools import partial
from torch import Tensor
from typing import NamedTuple

from ..mixing import project_simplex
from . import blending
from .blending import check_shapes, estimate, full_rank
from .families import Instance, instance
from .hypotheses import check_hypothesis
from .slack import ROUNDING, check_arrays, slack


class Tasks(NamedTuple):
    r"""Both tasks, at some abundances, which need not be in the simplex.

    Args:
        M: The endmembers, with shape (B, R).
        A: The HR abundances, with shape (R, N).
        X_s: The target of SR, with shape (B, N).
        D: The operator, with shape (N, n).
        Y: The LR image, with shape (B, n).
    """

    M: Tensor
    A: Tensor
    X_s: Tensor
    D: Tensor
    Y: Tensor

    @property
    def conflict(self) -> Tensor:
        r"""What the endmembers see of the inconsistency, :math:`M^\top \delta`."""
        return self.M.mT @ (self.Y - self.X_s @ self.D)

    @property
    def pull(self) -> Tensor:
        r"""What the target asks for at LR, :math:`G = M^\top (X_s - M A) D`."""
        return self.M.mT @ (self.X_s - self.M @ self.A) @ self.D

    @property
    def gradients(self) -> tuple[Tensor, Tensor]:
        r"""The gradients of :math:`L_u` and :math:`L_s` in the abundances."""
        residual = self.M @ self.A @ self.D - self.Y
        return self.M.mT @ residual @ self.D.mT, self.M.mT @ (self.M @ self.A - self.X_s)

    def loss(self, A: Tensor) -> Tensor:
        r"""The unmixing loss :math:`L_u` of other abundances."""
        return (self.Y - self.M @ A @ self.D).square().sum() / 2


def make_tasks(scene: Instance, seed: int = 0, conflict: float = 0.0) -> Tasks:
    r"""Puts both tasks on a scene, at abundances off the truth, with noise in the target.

    Args:
        scene: The scene. Its brightness is divided out.
        seed: The seed of abundances and noise.
        conflict: How far the LR image is drawn against the target, :math:`M^\top \delta = -t G`
            with this :math:`t`. At 0, the target is consistent.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(scene.A.shape, generator=generator, dtype=torch.float64)
    A = scene.A + 0.1 * noise
    X = scene.M @ scene.A
    X_s = X + 0.05 * X.abs().mean() * torch.randn(X.shape, generator=generator, dtype=X.dtype)
    D = scene.D_rho

    return Tasks(scene.M, A, X_s, D, (X_s - conflict * (X_s - scene.M @ A)) @ D)


def affinity_identity(tasks: Tasks) -> Tensor:
    r"""Checks 2.1: what the inner product of the gradients is.

    .. math:: \langle \nabla L_u, \nabla L_s \rangle = \|G\|^2 + \langle G, M^\top \delta \rangle

    Hypotheses: none. Source: ours.

    Returns:
        The slack, relative to the product of the norms of the gradients.
    """
    _check(tasks)
    u, s = tasks.gradients
    G = tasks.pull
    difference = _dot(u, s) - _dot(G, G + tasks.conflict)

    return slack(difference.abs(), 0.0, _size(tasks, u, s))


def affinity(
    tasks: Tasks,
    through: tuple[Tensor, Callable[[Tensor], Tensor]] | None = None,
    *,
    require: bool = True,
) -> Tensor:
    r"""Checks 2.1: the tasks do not oppose each other, :math:`\langle g_u, g_s \rangle \geq 0`.

    Hypotheses: (1) gradients are Euclidean, in the abundances; (2) the target is consistent,
    :math:`M^\top \delta = 0`, or at least :math:`\|M^\top \delta\| \leq \|G\|`. Source: ours.

    Args:
        tasks: Both tasks.
        through: Other parameters to take gradients in, and the function that makes the HR image
            of them; against the first hypothesis.
        require: Whether to raise an error outside of the hypotheses.

    Returns:
        The slack, which is the cosine of the gradients.
    """
    _check(tasks)
    consistent = _consistent(tasks) or bool(tasks.conflict.norm() <= tasks.pull.norm())
    check_hypothesis(through is None, "gradients are not those in the abundances", require)
    check_hypothesis(
        consistent, "the target contradicts the image by more than it asks for", require
    )

    u, s = tasks.gradients
    if through is not None:
        parameters = through[0].detach().requires_grad_()
        X = through[1](parameters)
        losses = (tasks.Y - X @ tasks.D).square().sum() / 2, (tasks.X_s - X).square().sum() / 2
        u, s = (torch.autograd.grad(f, parameters, retain_graph=True)[0] for f in losses)

    return slack(0.0, _dot(u, s), _size(tasks, u, s))


def guided_step_identity(tasks: Tasks, step: float, *, require: bool = True) -> Tensor:
    r"""Checks 2.2: what a step :math:`\eta` for SR is to unmixing.

    .. math:: L_u(A - \eta \nabla L_s) = \frac{1}{2} \|(I - \eta M M^\top)(Y - M A D)\|^2

    Hypotheses: the target is consistent. Source: ours.
    """
    _check(tasks)
    check_hypothesis(_consistent(tasks), "the target is not consistent", require)

    residual = tasks.Y - tasks.M @ tasks.A @ tasks.D
    expected = (residual - step * tasks.M @ (tasks.M.mT @ residual)).square().sum() / 2
    after = tasks.loss(tasks.A - step * tasks.gradients[1])

    return slack((after - expected).abs(), 0.0, torch.maximum(expected, _floor(tasks)))


def guided_step(
    tasks: Tasks, step: float, *, project: bool = False, require: bool = True
) -> Tensor:
    r"""Checks 2.2: a step for SR helps unmixing, :math:`L_u(A - \eta \nabla L_s) \leq L_u(A)`.

    Hypotheses: (1) the target is consistent; (2) :math:`0 \leq \eta \leq 2 / \|M\|_2^2`; (3) the
    step is not projected on the simplex. Source: ours.
    """
    _check(tasks)
    limit = 2 / torch.linalg.matrix_norm(tasks.M, 2).square()
    check_hypothesis(_consistent(tasks), "the target is not consistent", require)
    check_hypothesis(
        0 <= step <= (1 + ROUNDING) * limit, "the step is not in [0, 2 / ||M||^2]", require
    )
    check_hypothesis(not project, "the step is projected on the simplex", require)

    A = tasks.A - step * tasks.gradients[1]

    return slack(
        tasks.loss(project_simplex(A) if project else A), tasks.loss(tasks.A), _floor(tasks)
    )


def largest_step(tasks: Tasks) -> Tensor:
    r"""Returns the step up to which a guided step helps, be the target consistent or not.

    .. math:: \bar\eta = \frac{2 \langle \nabla L_u, \nabla L_s \rangle}{\|M \nabla L_s D\|^2}

    If the target is consistent, it is :math:`2 / \|M\|_2^2` or more. Where the gradients oppose
    each other it is zero, where the step does not reach the LR image it is infinite.
    """
    _check(tasks)
    u, s = tasks.gradients
    reach = (tasks.M @ s @ tasks.D).square().sum()

    return torch.where(reach > 0, 2 * _dot(u, s).clamp_min(0) / reach, torch.inf)


def joint_weight(tasks: Tasks, weight: float, *, require: bool = True) -> Tensor:
    r"""Checks 2.3: what weight of the joint problem plays that of the blend.

    With :math:`F = L_u + \lambda L_s` and d the norm of a column of D, the minimiser brought down
    is the blend of weight :math:`\lambda / d^2`. For block means of constant brightness that is
    :math:`s^2 \lambda`.

    Hypotheses: (1) M has full column rank; (2) no HR pixel is in two LR pixels, so that
    :math:`D^\top D` is diagonal; (3) :math:`\lambda > 0`. Source: ours.
    """
    _check(tasks)
    K = tasks.D.mT @ tasks.D
    diagonal = bool((K - K.diag().diag()).norm() <= ROUNDING * K.norm())
    check_hypothesis(full_rank(tasks.M), "M does not have full column rank", require)
    check_hypothesis(diagonal, "an HR pixel is in two LR pixels", require)
    check_hypothesis(weight > 0, "the weight is not positive", require)

    ratio = weight / K.diag()
    a_u, a_s = (estimate(tasks.M, y, y, 0) for y in (tasks.Y, tasks.X_s @ tasks.D))
    difference = _minimiser(tasks, weight) @ tasks.D - (a_u + ratio * a_s) / (1 + ratio)

    return slack(difference.norm(), 0.0, a_u.norm() + a_s.norm())


def consistency_alone(tasks: Tasks, weight: float, *, require: bool = True) -> Tensor:
    r"""Checks 2.4: a consistent target leaves the LR abundances as they are.

    The minimiser of :math:`L_u + \lambda L_s` without constraints is that of :math:`L_s`, whatever
    the weight, and brought down it is the estimate of unmixing alone.

    Hypotheses: (1) M has full column rank; (2) the target is consistent; (3) :math:`\lambda > 0`.
    Source: ours.
    """
    _check(tasks)
    check_hypothesis(full_rank(tasks.M), "M does not have full column rank", require)
    check_hypothesis(_consistent(tasks), "the target is not consistent", require)
    check_hypothesis(weight > 0, "the weight is not positive", require)

    a_u = estimate(tasks.M, tasks.Y, tasks.Y, 0)

    return slack((_minimiser(tasks, weight) @ tasks.D - a_u).norm(), 0.0, a_u.norm())


def gated(g_u: Tensor, g_s: Tensor, *, gate: bool = True, require: bool = True) -> Tensor:
    r"""Checks 2.5: with the gate, the unmixing loss does not pay for the guide, to first order.

    .. math:: \langle g_u, g_u + [\langle g_u, g_s \rangle \geq 0] \, g_s \rangle \geq \|g_u\|^2

    Hypotheses: the gradient of SR is used only where it does not oppose that of unmixing.
    Source: standard.

    References:
        | Adapting Auxiliary Losses Using Gradient Similarity (Du et al., 2018)
        | https://arxiv.org/abs/1812.02224
    """
    check_arrays(g_u=g_u, g_s=g_s)
    check_hypothesis(gate, "the gradient of SR is used where it opposes that of unmixing", require)

    guide = g_s if not gate or _dot(g_u, g_s) >= 0 else torch.zeros_like(g_s)
    before, after = _dot(g_u, g_u), _dot(g_u, g_u + guide)

    return slack(before, after, g_u.norm() * (g_u.norm() + g_s.norm()))


def slacks(scene: Instance, seed: int = 0) -> dict[str, float]:
    r"""Returns the slack of every statement on a scene.

    Left out are statements in abundances where M does not have full column rank, and the weight
    in the joint problem where pixels overlap, as those of a Gaussian point spread function do.
    """
    tasks, torn = make_tasks(scene, seed), make_tasks(scene, seed, conflict=0.9)
    # A conflict that is 0.9 times as long as G, in another direction
    turned = tasks._replace(Y=tasks.Y - 0.9 * (tasks.Y - tasks.M @ tasks.A @ tasks.D).flip(1))
    unit = 1 / torch.linalg.matrix_norm(scene.M, 2).square()  # of a step
    values = {
        "2.1 identity": affinity_identity(torn),
        "2.1 affinity, consistent": affinity(tasks),
        "2.1 affinity, inconsistent": affinity(turned),
        "2.2 identity": guided_step_identity(tasks, 0.9 * unit),
        "2.2 guided step": guided_step(tasks, 0.9 * unit),
        "2.2 guided step, longest": guided_step(tasks, 2 * unit),
        "2.5 gate": gated(*make_tasks(scene, seed, conflict=1.5).gradients),
    }
    if not full_rank(scene.M):
        return {label: float(value) for label, value in values.items()}

    values |= blending.slacks(scene.M, (scene.A @ scene.D_rho)[:, :1], seed)
    values["2.4 consistency alone"] = consistency_alone(tasks, 0.5)
    K = scene.D.mT @ scene.D
    if (K.count_nonzero(dim=0) == 1).all():
        values["2.3 joint weight"] = joint_weight(torn, 0.5)

    return {label: float(values[label]) for label in sorted(values)}


def violating() -> dict[str, Callable[..., Tensor]]:
    r"""Breaks one hypothesis each: statements to be called, on inputs on which they fail.

    Called as they are, they return a negative slack. With `require=True`, they raise.
    """
    one, two, half = _rows([1]), torch.eye(2, dtype=torch.float64), _rows([0.5], [0.5])

    def tasks(M: Tensor, A: Tensor, X_s: Tensor) -> Tasks:
        return Tasks(M, A, X_s, half, X_s @ half)

    # Gradients elsewhere: the LR pixel follows the residual of one part, they that of the other
    residual, rho = _rows([1, -1.2]), _rows([2, 1])
    M, A, features = _rows([0.3, 0.7]), _rows([1, 0.5], [0, 0.5]), _rows([1, 0.2])
    mixed = _rows([0.5, 0.8], [0.5, 0.2])
    in_M, in_weights = tasks(M, A, M @ A + residual), tasks(one, features, features + residual)
    in_logits = tasks(two, mixed, _rows([0.4, 0.92], [0.6, 0.08]))
    in_light = tasks(one, _rows([1, 1]), rho + residual / 2)
    through = {
        "gradients in M": (in_M, (M, lambda M: M @ A)),
        "gradients in softmax logits": (in_logits, (mixed.log(), lambda z: z.softmax(dim=0))),
        "gradients in network weights": (in_weights, (one, lambda w: w @ features)),
        "brightness in the loss, plain D": (in_light, (in_light.A, lambda A: A * rho)),
    }

    blurred = make_tasks(instance(2, psf="gaussian"), conflict=1.5)
    steep = tasks(two, A, _rows([2, 0], [-1, 1]))
    far = Tasks(one, one, -2 * one, one, 0 * one)
    opposed = make_tasks(instance(0, contrast=0.0), conflict=1.5)

    cases = {
        "target against the image": partial(affinity, opposed),
        **{name: partial(affinity, *args) for name, args in through.items()},
        "step beyond 2 / ||M||^2": partial(guided_step, steep, 2.2),
        "projection on the simplex": partial(guided_step, steep, 0.9, project=True),
        "inconsistent target, finite step": partial(guided_step, far, 0.9),
        "inconsistent target, identity": partial(guided_step_identity, far, 0.9),
        "overlapping LR pixels": partial(joint_weight, blurred, 0.1),
        "target that denoises": partial(consistency_alone, opposed, 0.5),
        "no gate": partial(gated, *opposed.gradients, gate=False),
    }

    return {name: partial(case, require=False) for name, case in cases.items()} | (
        blending.violating()
    )


def _rows(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum()


def _size(tasks: Tasks, u: Tensor, s: Tensor) -> Tensor:
    # Of an inner product of gradients: where both vanish, what rounding makes of them
    floor = ROUNDING * tasks.M.norm() ** 2 * tasks.X_s.norm() * tasks.Y.norm()
    return torch.maximum(u.norm() * s.norm(), floor)


def _floor(tasks: Tasks) -> Tensor:
    # Of a loss
    return torch.maximum(tasks.loss(tasks.A), ROUNDING * tasks.Y.square().sum() / 2)


def _consistent(tasks: Tasks) -> Tensor:
    return tasks.conflict.norm() <= ROUNDING * tasks.M.norm() * tasks.Y.norm()


def _minimiser(tasks: Tasks, weight: float) -> Tensor:
    # Of L_u + weight L_s, by its normal equations M'M A (D D' + weight I) = M'(Y D' + weight X_s)
    M, _, X_s, D, Y = tasks
    H = D @ D.mT + weight * torch.eye(len(D), dtype=D.dtype)
    X = torch.linalg.solve(H, Y @ D.mT + weight * X_s, left=False)
    return estimate(M, X, X, 0)


def _check(tasks: Tasks) -> None:
    (B, R), (N, n) = tasks.M.shape[-2:], tasks.D.shape[-2:]
    check_shapes(tasks, M=(B, R), A=(R, N), X_s=(B, N), D=(N, n), Y=(B, n))
