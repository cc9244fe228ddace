r"""Guidance: HR abundances that a network learns, and how far it is trusted.

The network learns the step from one resolution to the next of pairs of resolutions that are there,
and is then applied to the step that is not. Whether this carries over is *rehearsed* one octave
below, where the answer is known: a network learns the step from :math:`Y D D` to :math:`Y D` and
predicts that from :math:`Y D` to :math:`Y`. Three estimates of the abundances of :math:`Y` are
compared with those of the constrained solve there: interpolated, lifted, and corrected by the
network. The errors of the last two have the best weight of the existence theorem: this share of
the correction is taken. Where interpolation is best, there is no guidance. Where an HR image is
shown, tiles of it that training has not seen take the place of the rehearsal, if there are any.
"""

__all__ = [
    "Rehearsal",
    "bring_up",
    "factors_of",
    "guide",
    "learn",
    "material",
    "rehearse",
    "step_up",
]

import torch

from torch import Tensor
from typing import Any, NamedTuple

from .affinity import best_share
from .degradation import degrade, degrade_alive
from .lifting import interpolate, lift, reconcile
from .mixing import Convention, project_simplex, unmix_pixels
from .network import Smile
from .objective import Level, Pair, features, make_pairs, train
from .progress import Progress


class Rehearsal(NamedTuple):
    r"""Mean squared errors of the abundances one octave below, and what follows from them.

    Args:
        interpolated: The error of interpolation.
        lifted: The error of lifting.
        guided: The error of lifting with the share of the correction.
        share: The best share of the correction, in [0, 1].
    """

    interpolated: float
    lifted: float
    guided: float
    share: float

    @property
    def helps(self) -> bool:
        r"""Whether the guide was better than interpolation."""
        return self.guided < self.interpolated


def guide(
    level: Level,
    M: Tensor,
    scale: int,
    convention: Convention,
    *,
    hr: Tensor | None = None,
    shown: Tensor | None = None,
    weights: dict[str, Tensor] | None = None,
    without: str = "",
    **options: Any,
) -> tuple[Level | None, Smile | None, dict[str, list[float]]]:
    r"""Brings the scene up to the HR resolution.

    Args:
        level: The scene, as it was unmixed.
        M: The endmembers, with shape (B, R).
        scale: The scale factor.
        convention: `share` or `plain`, see `smile_core.mixing`.
        hr: The HR image, in the unit of that of `level`, with shape (B, H, W), if there is one.
            Where it is shown, it is unmixed itself.
        shown: Where it is shown, boolean, with shape (H, W).
        weights: Those of a network of another scene to start from, if any. It is rehearsed as it
            is, for there this scene is new to it.
        without: The part to leave out, if any, see `smile_core.parts`.
        options: The other options of `learn`.

    Returns:
        The scene at the HR resolution, `None` if the guide does not help; the trained network, if
        there is one; the history of rehearsal and training.
    """
    factors, network, share = factors_of(scale), None, 1.0
    trusted = without == "rehearsal"
    history: dict[str, list[float]] = {}
    options |= {"weights": weights}
    pairs = material(
        level.image, M, factors, convention, options["seed"], hr=hr, shown=shown, without=without
    )
    held_out = hr is not None and any(pair.validation.any() for pair in pairs[1][:1])

    if not held_out and not trusted:
        rehearsal = rehearse(level, M, factors[0], convention, without=without, **options)
        history |= {f"rehearsal.{name}": [value] for name, value in rehearsal._asdict().items()}
        share = rehearsal.share
        # Without lifting there is nothing to be better than interpolation
        if hr is None and not rehearsal.helps and without != "lifting":
            return None, None, history

    if any(pairs) and share and without != "network":
        network, learned = learn(pairs, M, factors[0], without=without, **options)
        history |= learned
        if held_out and not trusted:
            first = degrade(hr, scale // factors[0])
            share = _held_out_share(network, pairs[1][0], first, M, convention)

    up = bring_up(level, scale, network, share, without=without)
    if hr is not None:
        up.a[:, shown], up.brightness[shown], _ = unmix_pixels(hr[:, shown], M, convention)

    return up, network, history | {"share": [share if network else 0.0]}


def factors_of(scale: int) -> list[int]:
    r"""Returns the steps of the SR task: twos where their product is the scale, else the scale.

    Of steps of two, a scene holds the most pairs to learn from.
    """
    steps = scale.bit_length() - 1
    return [2] * steps if scale == 2**steps else [scale]


def material(
    image: Tensor,
    M: Tensor,
    factors: list[int],
    convention: Convention,
    seed: int,
    *,
    hr: Tensor | None = None,
    shown: Tensor | None = None,
    without: str = "",
) -> list[list[Pair]]:
    r"""Gathers the pairs of resolutions to learn from.

    Args:
        image: The image, with pixels of about unit norm, with shape (B, h, w).
        M: The endmembers, with shape (B, R).
        factors: The steps of the SR task.
        convention: What an abundance is, see `smile_core.mixing`.
        seed: The seed of the tiles that are held out.
        hr: The HR image, in the same unit, with shape (B, H, W), if there is one.
        shown: Where it is shown, boolean, with shape (H, W).
        without: The part to leave out, if any, as in `make_pairs`.

    Returns:
        The pairs of the image, then of each resolution above it that is shown; an empty list where
        too little is.
    """
    images = [(image, torch.ones_like(image[0]).bool())]

    # The resolutions above that of the image, a pixel being shown if all that it mixes is
    reach = 1
    for factor in factors if hr is not None else []:
        reach *= factor
        down = hr.shape[-1] // (image.shape[-1] * reach)
        images.append((degrade(hr, down), degrade(shown[None].to(hr), down)[0] == 1))

    options = {"scale": factors[0], "convention": convention, "seed": seed, "without": without}

    return [make_pairs(x, M, mask, **options) for x, mask in images]


def learn(
    pairs: list[list[Pair]],
    M: Tensor,
    factor: int,
    *,
    channels: int,
    attention: bool = False,
    steps: int,
    learning_rate: float,
    seed: int,
    device: torch.device,
    weights: dict[str, Tensor] | None = None,
    weighting: str = "sum",
    without: str = "",
    progress: Progress | None = None,
) -> tuple[Smile, dict[str, list[float]]]:
    r"""Creates a network and trains it.

    Args:
        pairs: The pairs of each image, at least one pair in all.
        M: The endmembers, with shape (B, R).
        factor: The step of the SR task.
        channels: The width of the network.
        attention: Whether its tasks attend to each other.
        steps: The number of training steps.
        learning_rate: The largest learning rate.
        seed: The seed of weights and training.
        device: The device to train on.
        weights: The weights to start from; random ones, which correct nothing, if `None`.
        weighting: How the gradients of the tasks are combined, see `smile_core.weighting`.
        without: The part to leave out, if any, see `smile_core.parts`.
        progress: Called with a stage's name, the steps done and their number.

    Returns:
        The network, on the CPU, and the history of its training.
    """
    with torch.random.fork_rng(devices=[]):  # the caller's generator stays as it is
        torch.random.default_generator.manual_seed(seed)
        network = Smile(*M.shape, factor, channels, attention=attention, without=without)
    if weights:
        network.load_state_dict(weights)
    network = network.to(device)
    if not steps:
        return network.eval(), {}

    history = train(
        network,
        [[Pair(*(x.to(device) for x in pair)) for pair in each] for each in pairs if each],
        M.to(device),
        steps=steps,
        learning_rate=learning_rate,
        weighting=weighting,
        seed=seed,
        progress=progress,
    )

    return network.cpu().eval(), history


def bring_up(
    level: Level,
    scale: int,
    network: Smile | None = None,
    share: float = 1,
    *,
    without: str = "",
) -> Level:
    r"""Brings abundances and brightness up, step by step.

    What the network has learned, it has learned of the first step up; the others are lifted.

    Args:
        level: The scene at the lower resolution.
        scale: The scale factor.
        network: The network of the first step, if any.
        share: The share of its correction to take.
        without: The part to leave out, if any, as in `smile_core.lifting.lift`.

    Returns:
        The scene at the higher resolution, as from `step_up`.
    """
    first, *others = factors_of(scale)
    up = step_up(level, first, network, share, without=without)
    for factor in others:
        up = step_up(up, factor, without=without)

    return up


@torch.no_grad()
def step_up(
    level: Level,
    factor: int,
    network: Smile | None = None,
    share: float = 1,
    *,
    without: str = "",
) -> Level:
    r"""Brings abundances and brightness up by one step.

    Args:
        level: The scene at the lower resolution.
        factor: The step.
        network: The network that corrects the lifted abundances, if any.
        share: The share of its correction to take.
        without: The part to leave out, if any, as in `smile_core.lifting.lift`.

    Returns:
        The scene at the higher resolution, without an image: that of the lower one.
    """
    a_hr, brightness_hr = lift(level.a, level.brightness, factor, without=without)
    if network is not None and share > 0:
        given = features(level), level.a[None], a_hr[None]
        weight = torch.ones_like(brightness_hr) if without == "brightness" else brightness_hr
        a_hr = _correct(network, given, weight, share)

    return Level(level.image, a_hr, brightness_hr)


def rehearse(
    level: Level,
    M: Tensor,
    factor: int,
    convention: Convention,
    *,
    seed: int,
    without: str = "",
    progress: Progress | None = None,
    **options: Any,
) -> Rehearsal:
    r"""Compares estimates of the abundances one octave below, where they are known.

    Args:
        level: The scene, as it was unmixed.
        M: The endmembers, with shape (B, R).
        factor: The step of the SR task.
        convention: What an abundance is, see `smile_core.mixing`.
        seed: The seed of weights and training.
        without: The part to leave out, if any, see `smile_core.parts`.
        progress: Called with a stage's name, the steps done and their number.
        options: The other options of `learn`.

    Returns:
        The errors. If the image is too small to learn from, the share is zero; if it cannot even
        be brought down, all are zero, and the guide does not help.
    """
    h, w = (n // factor * factor for n in level.a.shape[1:])
    if not h or not w:
        return Rehearsal(0.0, 0.0, 0.0, 0.0)

    y, _ = degrade_alive(level.image[:, :h, :w], factor)
    below = Level(y, *unmix_pixels(y, M, convention)[:2])
    truth, alive = level.a[:, :h, :w], level.image[:, :h, :w].sum(dim=0) > 0
    interpolated = interpolate(below.a, factor)
    lifted = guided = step_up(below, factor, without=without).a

    if options.get("weights"):
        options["steps"] = 0
    share, pairs = 0.0, material(y, M, [factor], convention, seed, without=without)
    if any(pairs) and without != "network":
        show = progress and (lambda _, step, steps: progress("rehearsal", step, steps))
        options |= {"seed": seed, "without": without, "progress": show}
        network, _ = learn(pairs, M, factor, **options)
        corrected = step_up(below, factor, network, without=without).a
        share = best_share(lifted[:, alive], corrected[:, alive], truth[:, alive])
        guided = step_up(below, factor, network, share, without=without).a

    errors = (float((a - truth)[:, alive].square().mean()) for a in (interpolated, lifted, guided))

    return Rehearsal(*errors, share)


@torch.no_grad()
def _held_out_share(
    network: Smile, pair: Pair, hr: Tensor, M: Tensor, convention: Convention
) -> float:
    given = pair.features, pair.a, pair.a_hr
    corrected = _correct(network, given, pair.brightness_hr[0, 0], 1.0)
    held = (pair.validation[0, 0] > 0) & (hr.sum(dim=0) > 0)
    truth = unmix_pixels(hr[:, held], M, convention)[0]

    return best_share(pair.a_hr[0, :, held], corrected[:, held], truth)


def _correct(
    network: Smile,
    given: tuple[Tensor, Tensor, Tensor],
    brightness_hr: Tensor,
    share: float,
) -> Tensor:
    _, a, a_hr = given
    down = {"a": a[0], "brightness_hr": brightness_hr, "scale": network.scale, "iterations": 1}
    corrected = network(*given)[1]
    # Both come down alike, so that a correction of nothing is nothing
    before, after = (reconcile(x[0], **down) for x in (a_hr, corrected))

    return project_simplex(a_hr[0] + share * (after - before))
