r"""Representations: what the parts of the network hold, what they attend to, what they cost.

Two questions are asked of features :math:`X`, one row a channel and one column a pixel. *How
similar are they to others?* Linear centred kernel alignment, with the mean of each row removed,

.. math:: \operatorname{CKA}(X, Y) = \frac{\|X Y^\top\|_F^2}{\|X X^\top\|_F \, \|Y Y^\top\|_F},

is one where :math:`Y` is :math:`X` rotated and scaled, and near zero where the two are
uncorrelated. Directions of large variance decide it. *What can be read off them?* A linear probe,
ridge regression on features that are scaled to unit variance, does not care about variance. Where
CKA is low and probes agree, the same things are held in another arrangement.

References:
    | Similarity of Neural Network Representations Revisited (Kornblith et al., 2019)
    | https://arxiv.org/abs/1905.00414
    | Understanding intermediate layers using linear classifier probes (Alain, Bengio, 2016)
    | https://arxiv.org/abs/1610.01644
"""

__all__ = ["attention", "blocks", "cka", "costs", "probe", "representations", "snapshots"]

import copy
import pandas as pd
import statistics
import time
import torch
import torch.nn.functional as F

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ..degradation import enlarge
from ..network import Smile
from ..objective import Pair, train


@torch.no_grad()
def representations(network: Smile, pixels: Tensor) -> dict[str, Tensor]:
    r"""Returns the features that the network computes on its way.

    Args:
        network: The network, with attention.
        pixels: What it sees, see `smile_core.objective.features`, with shape (1, B + R + 1, h, w).

    Returns:
        The features by the name of the part that they come out of: `stem`, `shared`, the branches
        `unmixing` and `sr`, and these after attention, `to_unmixing` and `to_sr`; each with shape
        (C, h, w).
    """
    stem = network.stem(pixels)
    shared = network.shared(stem)
    u, g = network.unmixing(shared), network.sr(shared)
    features = {
        "stem": stem,
        "shared": shared,
        "unmixing": u,
        "sr": g,
        "to_unmixing": network.to_unmixing(u, g),
        "to_sr": network.to_sr(g, u),
    }

    return {name: x[0] for name, x in features.items()}


@torch.no_grad()
def attention(network: Smile, pixels: Tensor) -> dict[str, Tensor]:
    r"""Returns how much each channel of one task attends to each channel of the other.

    Channels attend within their head only.

    Args:
        network: The network, with attention.
        pixels: What it sees, with shape (1, B + R + 1, h, w).

    Returns:
        The weights of `to_unmixing`, from channels of the unmixing branch (rows) to those of the
        SR branch (columns), and of `to_sr`, the other way round; each with shape
        (heads, C / heads, C / heads), rows summing to one.
    """
    features = representations(network, pixels)
    u, g = features["unmixing"][None], features["sr"][None]

    return {"to_unmixing": network.to_unmixing.weights(u, g), "to_sr": network.to_sr.weights(g, u)}


def cka(x: Tensor, y: Tensor) -> float:
    r"""Returns the linear centred kernel alignment of two representations.

    It is computed from C x D matrices, never from one of pixels by pixels.

    Args:
        x: The features, with shape (C, \*).
        y: The other features, of the same pixels, with shape (D, \*).

    Returns:
        The similarity, in [0, 1].

    Raises:
        ValueError: If the pixels differ in number, or features are the same in all pixels.
    """
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(
            f"'x' and 'y' should have the same pixels, got {tuple(x.shape)} and {tuple(y.shape)}."
        )
    x, y = _centre("x", x), _centre("y", y)

    return float((x @ y.mT).square().sum() / ((x @ x.mT).norm() * (y @ y.mT).norm()))


def blocks(rows: int, cols: int, *, size: int = 8, folds: int = 5, seed: int = 0) -> Tensor:
    r"""Distributes the pixels over folds, by square blocks: neighbours resemble each other.

    Args:
        rows: The number of rows.
        cols: The number of columns.
        size: The size of the blocks in pixels.
        folds: The number of folds.
        seed: The seed.

    Returns:
        The index of the fold of each pixel, with shape (rows, cols).

    Raises:
        ValueError: If there are fewer blocks than folds.
    """
    shape = -(-rows // size), -(-cols // size)
    count = shape[0] * shape[1]
    if count < folds:
        raise ValueError(f"The pixels should have {folds} blocks of size {size}, got {count}.")

    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randperm(count, generator=generator) % folds).view(shape)

    return enlarge(drawn, size)[:rows, :cols]


def probe(x: Tensor, target: Tensor, folds: Tensor, *, ridge: float = 1e-3) -> Tensor:
    r"""Returns how well targets are read off features, linearly, on pixels that are held out.

    .. math:: R^2 = 1 - \frac{\sum_i (t_i - \hat t_i)^2}{\sum_i (t_i - \bar t)^2}, \qquad
        \hat t = W z + \bar t, \quad
        W = \arg \min_W \tfrac{1}{n} \|T - W Z\|_F^2 + \lambda \|W\|_F^2,

    where each fold is predicted from the others, on which features :math:`Z` have zero mean and
    unit variance. A target may be finer than the features: then each feature pixel predicts all
    the pixels in it.

    Args:
        x: The features, with shape (C, h, w).
        target: What is to be read off, with shape (R, s h, s w).
        folds: The index of the fold of each pixel, with shape (h, w), such as from `blocks`.
        ridge: The penalty :math:`\lambda`.

    Returns:
        The :math:`R^2` of each target, at most one, with shape (R,). It is negative where the mean
        would have been the better prediction.

    Raises:
        ValueError: If the size of the target is no multiple of that of the features, or one of
            the targets is the same everywhere.
    """
    s = target.shape[-1] // x.shape[-1]
    if target.shape[1:] != (s * x.shape[1], s * x.shape[2]):
        raise ValueError(
            "The rows and columns of the target should be the same multiple of those of the "
            f"features, got {tuple(target.shape)} and {tuple(x.shape)}."
        )

    R, which = len(target), folds.flatten()
    x, t = x.double().flatten(1), F.pixel_unshuffle(target.double(), s).flatten(1)
    errors = torch.empty_like(t)  # (R s^2, pixels)
    for k in which.unique():
        held = which == k
        mean, level = x[:, ~held].mean(dim=1, keepdim=True), t[:, ~held].mean(dim=1, keepdim=True)
        spread = x[:, ~held].std(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        z, n = (x - mean) / spread, int((~held).sum())
        penalised = z[:, ~held] @ z[:, ~held].mT / n + ridge * torch.eye(len(z)).to(z)
        W = torch.linalg.solve(penalised, z[:, ~held] @ (t - level)[:, ~held].mT / n)
        errors[:, held] = (t - level - W.mT @ z)[:, held]

    variation = _centre("target", target).square().reshape(R, -1).sum(dim=1)
    if (variation == 0).any():
        raise ValueError("Each target should vary, got one that is the same everywhere.")

    return 1 - errors.square().reshape(R, -1).sum(dim=1) / variation


def snapshots(
    network: Smile,
    pairs: list[Pair],
    M: Tensor,
    *,
    at: list[int],
    steps: int,
    learning_rate: float,
    seed: int = 0,
) -> dict[int, Smile]:
    r"""Trains the network in place, see `smile_core.objective.train`, and copies it on the way.

    Args:
        network: The network.
        pairs: The pairs of the image to train on.
        M: The endmembers, with shape (B, R).
        at: The numbers of steps after which to copy it.
        steps: The number of steps.
        learning_rate: The largest learning rate of the schedule.
        seed: The seed of pairs and orientations.

    Returns:
        The copies by the number of steps.
    """
    copies = {}

    def keep(stage: str, step: int, steps: int) -> None:
        if step in at:
            copies[step] = copy.deepcopy(network).eval()

    options = {"steps": steps, "learning_rate": learning_rate, "seed": seed}
    train(network, [pairs], M, **options, progress=keep)

    return copies


@torch.no_grad()
def costs(network: Smile, pixels: Tensor, repeats: int = 20) -> pd.DataFrame:
    r"""Counts parameters and operations of each part of the network, and measures its time.

    Args:
        network: The network, on the CPU.
        pixels: What it sees, with shape (1, B + R + 1, h, w).
        repeats: The number of runs that are timed, after one that is not.

    Returns:
        A row per part, in the order of the network: `parameters`; `flops`, floating-point
        operations of the matrix products and convolutions of one forward pass, two per
        multiplication with addition; `seconds`, the median.
    """
    R = network.head.out_channels
    a = pixels.new_full((1, R, *pixels.shape[2:]), 1 / R)
    inputs = pixels, a, a.repeat(1, 1, network.scale, network.scale)

    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    flops = counter.get_flop_counts()

    parts = dict(network.named_children())
    times = {name: [] for name in parts}
    handles = [handle for name, part in parts.items() for handle in _time(part, times[name])]
    for _ in range(repeats):
        network(*inputs)
    for handle in handles:
        handle.remove()

    rows = {
        name: {
            "parameters": sum(p.numel() for p in part.parameters()),
            "flops": sum(flops[f"{type(network).__name__}.{name}"].values()),
            "seconds": statistics.median(
                b - a for a, b in zip(times[name][::2], times[name][1::2], strict=True)
            ),
        }
        for name, part in parts.items()
    }

    return pd.DataFrame(rows.values(), index=pd.Index(rows, name="part"))


def _centre(name: str, x: Tensor) -> Tensor:
    x = x.double().flatten(1)
    centred = x - x.mean(dim=1, keepdim=True)
    if centred.norm() <= 1e-12 * x.norm():
        raise ValueError(f"'{name}' should vary over pixels, got features that are constant.")

    return centred


def _time(part: nn.Module, times: list[float]) -> list[torch.utils.hooks.RemovableHandle]:
    # Before and after each call, one after the other
    def tick(*_: object) -> None:
        times.append(time.perf_counter())

    return [part.register_forward_pre_hook(tick), part.register_forward_hook(tick)]
