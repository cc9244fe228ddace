r"""The network: shared and task-specific representations.

.. code-block:: text

    pixels --> stem --> shared --+--> unmixing branch <--+--> LR abundances
                                 |             (cross-attention)
                                 +--> SR branch ------>--+--> HR abundances

Both heads give *corrections* to abundances that are already good, added to their logarithms: the
constrained solve at LR, its consistent interpolation at HR (see `smile_core.lifting`). Their last
layers start at zero, so that an untrained network returns what it was given. Endmembers are one
linear decoder for both tasks, outside of this module: spectra, of the SR image too, are always
mixtures.

A summary of the paper joins the branches by cross-attention. Here that is an option, for it makes
no error smaller where it was tried, see notebook 12. It runs over channels, not over pixels: the
cost is linear in the number of pixels.
"""

__all__ = ["Block", "CrossAttention", "Smile"]

import torch
import torch.nn as nn
import torch.nn.functional as F

from torch import Tensor

# Keeps logarithms finite, and lets an abundance of zero come back
FLOOR = 1e-2


class Norm(nn.Module):
    r"""Divides each pixel by its root mean square over channels: tiles and images agree."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + 1e-6)


class Block(nn.Module):
    r"""Creates a residual block, depthwise 3 x 3, norm and two pointwise layers.

    It starts as the identity.

    Args:
        channels: The number of channels, in and out.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = Norm(channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.reduce = _zero(nn.Conv2d(2 * channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        r"""Transforms features, with shape (1, C, h, w)."""
        h = self.norm(self.depthwise(x))
        return x + self.reduce(F.silu(self.expand(h)))


class CrossAttention(nn.Module):
    r"""Creates attention from the channels of one task to those of the other.

    It starts as the identity.

    Args:
        channels: The number of channels, a multiple of `heads`.
        heads: The number of heads.
    """

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()

        if channels % heads:
            raise ValueError(f"The channels should be a multiple of {heads}, got {channels}.")

        self.heads = heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.out = _zero(nn.Conv2d(channels, channels, 1))
        self.temperature = nn.Parameter(torch.full((heads, 1, 1), 4.0))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        r"""Adds to `x` what its channels attend to in `guide`.

        Args:
            x: The features of the task, with shape (1, C, h, w).
            guide: The features of the other task, with shape (1, C, h, w).

        Returns:
            The features, with shape (1, C, h, w).
        """
        return x + self.out((self.weights(x, guide) @ self._split(self.value(guide))).view_as(x))

    def weights(self, x: Tensor, guide: Tensor) -> Tensor:
        r"""Returns how much each channel of the task attends to each of the other.

        They are those of the whole image: a tile of it has others.

        Args:
            x: The features of the task, with shape (1, C, h, w).
            guide: The features of the other task, with shape (1, C, h, w).

        Returns:
            The weights, rows summing to one, with shape (heads, C / heads, C / heads).
        """
        q, k = (self._split(y) for y in (self.query(x), self.key(guide)))
        norms = q.square().sum(dim=-1)[..., :, None] * k.square().sum(dim=-1)[..., None, :]

        return (self.temperature * (q @ k.mT) * torch.rsqrt(norms + 1e-12)).softmax(dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(self.heads, x.shape[1] // self.heads, -1)


class Smile(nn.Module):
    r"""Creates the network of one scene.

    Args:
        bands: The number of bands.
        endmembers: The number of endmembers.
        scale: The scale factor between the two resolutions.
        channels: The width.
        attention: Whether the tasks attend to each other.
        without: The part to leave out, if any, see `smile_core.parts`. Without the shared
            encoder, the SR task has one of its own.
    """

    def __init__(
        self,
        bands: int,
        endmembers: int,
        scale: int = 2,
        channels: int = 32,
        *,
        attention: bool = False,
        without: str = "",
    ) -> None:
        super().__init__()

        self.scale = scale
        self.attention = attention
        self.without = without
        # Spectrum, abundances and log brightness of a pixel
        self.stem = nn.Conv2d(bands + endmembers + 1, channels, 1)
        self.shared = nn.Sequential(Block(channels), Block(channels))
        self.unmixing = Block(channels)
        self.sr = nn.Sequential(Block(channels), Block(channels))
        if without == "branches":
            self.unmixing = self.sr = nn.Identity()
        if attention:
            self.to_unmixing = CrossAttention(channels)
            self.to_sr = CrossAttention(channels)
        self.head = _zero(nn.Conv2d(channels, endmembers, 1))
        self.head_hr = _zero(nn.Conv2d(channels, endmembers * scale**2, 1))
        if without == "shared encoder":
            stem = nn.Conv2d(bands + endmembers + 1, channels, 1)
            self.encoder_sr = nn.Sequential(stem, Block(channels), Block(channels))

    def forward(self, pixels: Tensor, a: Tensor, a_hr: Tensor) -> tuple[Tensor, Tensor]:
        r"""Corrects abundances at both resolutions.

        Args:
            pixels: The features of the pixels, with shape (1, bands + endmembers + 1, h, w).
            a: The LR abundances to correct, with shape (1, R, h, w).
            a_hr: The HR abundances to correct, with shape (1, R, scale h, scale w).

        Returns:
            The corrected abundances, in the simplex, at LR and at HR.
        """
        f = self.shared(self.stem(pixels))
        f_sr = self.encoder_sr(pixels) if self.without == "shared encoder" else f
        u, g = self.unmixing(f), self.sr(f_sr)
        if self.attention:
            u, g = self.to_unmixing(u, g), self.to_sr(g, u)  # both from the old u, g
        if self.without == "anchoring":
            a, a_hr = (torch.full_like(x, 1 / x.shape[1]) for x in (a, a_hr))

        return (
            _correct(a, self.head(u)),
            _correct(a_hr, F.pixel_shuffle(self.head_hr(g), self.scale)),
        )

    def shared_parameters(self) -> dict[str, list[nn.Parameter]]:
        r"""Returns the parameters that both tasks share, by the name of their layer."""
        layers = {"stem": self.stem, "shared.0": self.shared[0], "shared.1": self.shared[1]}
        return {name: list(layer.parameters()) for name, layer in layers.items()}


def _correct(a: Tensor, correction: Tensor) -> Tensor:
    # Multiplicative in a + FLOOR, and the identity where the correction is zero
    raised = ((a + FLOOR).log() + correction).softmax(dim=1)
    lowered = (raised * (1 + a.shape[1] * FLOOR) - FLOOR).clamp_min(0)

    return lowered / lowered.sum(dim=1, keepdim=True)


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)

    return layer
