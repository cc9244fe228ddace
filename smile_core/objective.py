r"""Objective: what the two tasks are trained for, and the training itself.

The training material are pairs of neighbouring resolutions of the scene. Of the image alone there
is one: the image brought down, and the image itself, the *cross-scale* pair; where an HR image is
shown, the resolutions between the image and it are more. On each pair two losses are summed,

.. math:: \underbrace{d(M \hat A_l, Y)}_\text{unmixing} + \underbrace{d(M \hat A, X)}_\text{SR},

where :math:`d` is the mean chord between unit spectra, a smooth stand-in for the angle that does
not depend on the brightness. It needs :math:`M^\top M` and :math:`M^\top X` only, whatever the
number of bands.

The SR loss is the guide of unmixing. On the encoder that the tasks share, their gradients are
added up, or combined by another rule (see `smile_core.weighting`).

Overfitting is the danger, for a scene is small. Every pair is shown in its eight orientations, and
a fifth of its tiles is held out, to watch the SR loss. No weights are chosen by it: where two of
them do about as well, rounding would choose. How far to trust the last ones is measured elsewhere,
see `smile_core.guidance`, and is a share, which changes little where they do.
"""

__all__ = ["Level", "Pair", "features", "losses", "make_pairs", "train"]

import torch

from torch import Tensor
from torch.nn.utils import parameters_to_vector
from typing import NamedTuple

from .affinity import cosine, divide, task_affinity
from .degradation import degrade, degrade_alive, enlarge
from .lifting import lift
from .mixing import Convention, unit, unmix_pixels
from .network import Smile
from .progress import Progress
from .weighting import combine, uncertain

# Gradients far below this, which may be rounding errors, take steps far below the learning rate
EPSILON = 1e-5

# The learning rate of logarithms of variances: they have to follow the losses within the training
VARIANCE_RATE = 0.1


class Pair(NamedTuple):
    r"""Two resolutions of a scene, as tensors with a leading dimension of one.

    Args:
        features: What the network sees of each LR pixel, with shape (1, B + R + 1, h, w).
        a: The LR abundances to correct, with shape (1, R, h, w).
        a_hr: The HR abundances to correct, with shape (1, R, H, W).
        brightness_hr: The HR brightness that goes with `a_hr`, with shape (1, 1, H, W).
        projection: :math:`M^\top` times the unit LR pixels, with shape (1, R, h, w).
        projection_hr: :math:`M^\top` times the unit HR pixels, with shape (1, R, H, W).
        training: Where the HR pixels are used for training, 0 or 1, with shape (1, 1, H, W).
        validation: Where they are held out, 0 or 1, with shape (1, 1, H, W).
    """

    features: Tensor
    a: Tensor
    a_hr: Tensor
    brightness_hr: Tensor
    projection: Tensor
    projection_hr: Tensor
    training: Tensor
    validation: Tensor


class Level(NamedTuple):
    r"""The scene at one resolution.

    Args:
        image: The image, with pixels of about unit norm, with shape (B, h, w).
        a: Its abundances, with shape (R, h, w).
        brightness: Its brightness, with shape (h, w).
    """

    image: Tensor
    a: Tensor
    brightness: Tensor


def features(level: Level) -> Tensor:
    r"""Gathers what the network sees: unit spectrum, abundances, log brightness.

    Args:
        level: The scene at the resolution to start from.

    Returns:
        The features, with shape (1, B + R + 1, h, w).
    """
    spectrum = unit(level.image) * level.image.shape[0] ** 0.5
    brightness = level.brightness.clamp_min(1e-3).log()

    return torch.cat([spectrum, level.a, brightness[None]])[None]


def make_pairs(
    fine: Tensor,
    M: Tensor,
    mask: Tensor,
    scale: int,
    convention: Convention,
    seed: int,
    *,
    without: str = "",
) -> list[Pair]:
    r"""Makes training material of an image: itself, and itself brought down.

    There are four pairs, for the grid of the LR pixels may begin at four places: what an LR pixel
    mixes differs between them.

    Args:
        fine: The image, with pixels of about unit norm, with shape (B, H, W).
        M: The endmembers, with shape (B, R).
        mask: Where the image is shown, boolean, with shape (H, W).
        scale: The scale factor to bring it down by.
        convention: What an abundance is, see `smile_core.mixing`.
        seed: The seed of the tiles that are held out, the same for all pairs.
        without: The part to leave out, if any, see `smile_core.parts`: "brightness" or
            "lifting".

    Returns:
        The pairs; those of which nothing is shown are left out.
    """
    held_out = _tiles(mask.shape, seed)
    pairs = []

    for top, left in ((0, 0), (0, 1), (1, 0), (1, 1)):
        x, shown, held = (v[..., top:, left:] for v in (fine, mask, held_out))
        H, W = (n // scale * scale for n in shown.shape)
        x, shown, held = (v[..., :H, :W] for v in (x, shown, held))
        if not (shown & ~held).any():
            continue

        y, _ = degrade_alive(x, scale)
        coarse = Level(y, *unmix_pixels(y, M, convention)[:2])
        a_hr, brightness_hr = lift(coarse.a, coarse.brightness, scale, without=without)
        if without == "brightness":
            brightness_hr = torch.ones_like(brightness_hr)
        pairs.append(
            Pair(
                features(coarse),
                coarse.a[None],
                a_hr[None],
                brightness_hr[None, None],
                _project(M, y),
                _project(M, x),
                (shown & ~held)[None, None].to(x),
                (shown & held)[None, None].to(x),
            )
        )

    return pairs


def losses(network: Smile, pair: Pair, gram: Tensor, where: Tensor) -> dict[str, Tensor]:
    r"""Evaluates the losses of both tasks on a pair.

    Args:
        network: The network.
        pair: The pair.
        gram: The Gram matrix :math:`M^\top M` of the endmembers, with shape (R, R).
        where: The weight of the HR pixels, with shape (1, 1, H, W).

    Returns:
        The losses `unmixing` and `sr`, scalars without a unit.
    """
    a, a_hr = network(pair.features, pair.a, pair.a_hr)
    where_lr = degrade(where, network.scale)

    return {
        "unmixing": _mean(_chord(a, pair.projection, gram), where_lr),
        "sr": _mean(_chord(a_hr, pair.projection_hr, gram), where),
    }


@torch.enable_grad()
def train(
    network: Smile,
    material: list[list[Pair]],
    M: Tensor,
    *,
    steps: int,
    learning_rate: float,
    interval: int = 10,
    weighting: str = "sum",
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, list[float]]:
    r"""Trains the network in place.

    Args:
        network: The network.
        material: The pairs of each image that is trained on. A step takes one pair of each image,
            in a random orientation.
        M: The endmembers, with shape (B, R).
        steps: The number of steps.
        learning_rate: The largest learning rate of the schedule.
        interval: The number of steps between two validations, on the first pair of each image, and
            between two measurements of the affinity.
        weighting: How the gradients of the tasks are combined, see `smile_core.weighting`.
        seed: The seed of pairs and orientations, drawn on the CPU for every device.
        progress: Called with a stage's name, the steps done and their number.

    Returns:
        The history. Of every step: the two losses, and the `cosine` of the gradients of unmixing
        and of its guide on the shared parameters. Of every `interval`-th step, from step zero on:
        that cosine for each layer, `cosine.stem` and so on; the task affinities
        `affinity.sr_to_unmixing` and `affinity.unmixing_to_sr`; and, at the end as well, the
        held-out SR loss `validation`.
    """
    gram = M.mT @ M
    generator = torch.Generator().manual_seed(seed)
    # OneCycleLR divides by zero where the rise takes exactly one step
    rise = 0.1 if steps > 10 else 0.3
    log_variances = gram.new_zeros(2, requires_grad=True)  # for the weighting `uncertainty`
    groups = [{"params": network.parameters()}, {"params": log_variances, "weight_decay": 0}]
    options = {"lr": learning_rate, "eps": EPSILON, "weight_decay": 1e-3, "fused": True}
    optimizer = torch.optim.AdamW(groups, **options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [learning_rate, VARIANCE_RATE], total_steps=steps, pct_start=rise
    )
    shared = network.shared_parameters()
    parameters = [p for layer in shared.values() for p in layer]
    history: dict[str, list[Tensor]] = {"validation": []}

    for step in range(steps + 1):
        if step % interval == 0 or step == steps:
            history["validation"].append(_validate(network, material, gram))

        if progress is not None:
            progress("training", step, steps)
        if step == steps:
            break

        drawn = [_draw(pairs, generator) for pairs in material]
        evaluated = _mean_losses(network, drawn, gram)
        optimizer.zero_grad(set_to_none=True)
        weighed = uncertain(evaluated, log_variances) if weighting == "uncertainty" else evaluated
        main, guide = _gradients(weighed, parameters)
        measured = {name: loss.detach() for name, loss in evaluated.items()}
        measured["cosine"] = cosine(main, guide)
        if step % interval == 0:
            measured |= _affinities(network, drawn, gram, shared, main, guide, measured)
        for name, value in measured.items():
            history.setdefault(name, []).append(value)

        combined = combine(main, guide, weighting)
        for p, g in zip(parameters, divide(combined, parameters), strict=True):
            p.grad = g
        optimizer.step()
        schedule.step()

    # Read off the device at the end: no step waits for it
    return {name: torch.stack(values).tolist() for name, values in history.items()}


def _draw(pairs: list[Pair], generator: torch.Generator) -> Pair:
    drawn = int(torch.randint(len(pairs), (1,), generator=generator))
    orientation = int(torch.randint(8, (1,), generator=generator))

    return Pair(*(_turn(x, orientation) for x in pairs[drawn]))


def _mean_losses(network: Smile, pairs: list[Pair], gram: Tensor) -> dict[str, Tensor]:
    evaluated = [losses(network, pair, gram, pair.training) for pair in pairs]
    return {name: sum(each[name] for each in evaluated) / len(pairs) for name in evaluated[0]}


def _gradients(evaluated: dict[str, Tensor], parameters: list[Tensor]) -> tuple[Tensor, Tensor]:
    # All parameters get the gradient of the sum, those of the shared ones are told apart
    main = torch.autograd.grad(evaluated["unmixing"], parameters, retain_graph=True)
    sum(evaluated.values()).backward()
    main, both = (parameters_to_vector(g) for g in (main, [p.grad for p in parameters]))

    return main, both - main


def _affinities(
    network: Smile,
    pairs: list[Pair],
    gram: Tensor,
    shared: dict[str, list[Tensor]],
    main: Tensor,
    guide: Tensor,
    before: dict[str, Tensor],
) -> dict[str, Tensor]:
    sizes = [sum(p.numel() for p in layer) for layer in shared.values()]
    parts = zip(shared, main.split(sizes), guide.split(sizes), strict=True)
    measured = {f"cosine.{name}": cosine(g, h) for name, g, h in parts}

    parameters = [p for layer in shared.values() for p in layer]
    for name, loss, g in (
        ("sr_to_unmixing", "unmixing", guide),
        ("unmixing_to_sr", "sr", main),
    ):
        measured[f"affinity.{name}"] = task_affinity(
            before[loss], lambda loss=loss: _mean_losses(network, pairs, gram)[loss], parameters, g
        )

    return measured


@torch.no_grad()
def _validate(network: Smile, material: list[list[Pair]], gram: Tensor) -> Tensor:
    firsts = [pairs[0] for pairs in material]
    held_out = [losses(network, pair, gram, pair.validation)["sr"] for pair in firsts]

    return sum(held_out) / len(held_out)


def _chord(a: Tensor, projection: Tensor, gram: Tensor) -> Tensor:
    # |p - q|^2 = 2 - 2 cos for unit p, q
    norm = torch.einsum("nrhw,rs,nshw->nhw", a, gram, a)[:, None].clamp_min(1e-12).sqrt()
    cosine = (a * projection).sum(dim=1, keepdim=True) / norm

    return (2 - 2 * cosine).clamp_min(1e-9).sqrt()


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum() / weight.sum().clamp_min(1e-12)


def _project(M: Tensor, image: Tensor) -> Tensor:
    return torch.einsum("br,bhw->rhw", M, unit(image))[None]


def _turn(x: Tensor, orientation: int) -> Tensor:
    return torch.rot90(x.flip(-1) if orientation >= 4 else x, orientation % 4, (-2, -1))


def _tiles(shape: tuple[int, int], seed: int, size: int = 8, fraction: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows, cols = (-(-n // size) for n in shape)
    u = torch.rand(rows, cols, generator=generator)
    drawn = (u < fraction) | (u == u.min())  # at least one

    return enlarge(drawn, size)[: shape[0], : shape[1]]
