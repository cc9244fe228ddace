r"""Training of the deep baselines: what the three networks share."""

__all__ = ["check_finite", "seeded", "spectral_angle"]

import torch

from collections.abc import Iterator
from contextlib import contextmanager
from torch import Tensor

# The slope of the arc cosine is infinite at 1, which is next to this in single precision
COSINE = 1 - 1e-7

# Of the product of two squared norms
SMALLEST = 1e-16


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    r"""Seeds the generators that layers draw from, and puts them back as they were.

    Args:
        seed: The seed.
        device: The device to work on, whose generator is seeded along with that of the CPU.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def spectral_angle(x: Tensor, x_hat: Tensor, dim: int = 1) -> Tensor:
    r"""Computes the spectral angle as a loss, whose gradient is finite everywhere.

    .. math:: \arccos \frac{x^\top \hat x}{\|x\| \|\hat x\|}

    Args:
        x: The spectra, with the bands along `dim`.
        x_hat: Their reconstructions, with a shape that broadcasts with that of `x`.
        dim: The dimension of the bands.

    Returns:
        The angles in radians, without dimension `dim`, and no smaller than 0.0005.
    """
    # Half as many passes over the memory as torch.cosine_similarity
    product = (x * x_hat).sum(dim=dim)
    size = x.square().sum(dim=dim) * x_hat.square().sum(dim=dim)
    cosine = product / size.clamp_min(SMALLEST).sqrt()

    return cosine.clamp(-COSINE, COSINE).acos()


def check_finite(method: str, epoch: int, **values: Tensor) -> None:
    r"""Stops a training that has diverged.

    Args:
        method: The name of the method.
        epoch: The number of epochs done.
        values: What should be finite, by name.

    Raises:
        RuntimeError: If a value is NaN or infinite.
    """
    for name, value in values.items():
        bad = value[~value.isfinite()]
        if len(bad):
            raise RuntimeError(
                f"{method} diverged after {epoch} epochs: its {name} should be finite, "
                f"got {bad[0].item()}."
            )
