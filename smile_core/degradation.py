r"""Blur and decimation: how a high-resolution (HR) image becomes a low-resolution (LR) one.

An LR pixel is a weighted mean of HR pixels,

.. math:: y_j = \sum_i D_{ij} x_i, \qquad D_{ij} \ge 0, \quad \textstyle\sum_i D_{ij} = 1,

with the weights of a block mean or of a Gaussian point spread function (PSF). Where pixels differ
in brightness :math:`\rho`, their abundances do not follow :math:`D` but the brightness-weighted
operator

.. math:: D_\rho = \operatorname{diag}(\rho) \, D \, \operatorname{diag}(D^\top \rho)^{-1},

because bright pixels count for more in the mean. Its columns sum to one as well.
"""

__all__ = [
    "PSF",
    "adjoint",
    "degrade",
    "degrade_alive",
    "enlarge",
    "pad_to_multiple",
    "upsample",
]

import torch
import torch.nn.functional as F

from torch import Tensor
from typing import Literal, get_args

PSF = Literal["block", "gaussian"]


def degrade(x: Tensor, scale: int, psf: PSF = "block", brightness: Tensor | None = None) -> Tensor:
    r"""Brings an image down, :math:`X D`, or :math:`X D_\rho` where a brightness is given.

    The Gaussian has a full width at half maximum of `scale` HR pixels, is cut one full width from
    its centre and renormalised at the borders of the image.

    Args:
        x: The HR image :math:`X`, with shape (\*, C, H, W).
        scale: The factor :math:`s`, a divisor of H and of W.
        psf: The weights: "block", the mean of s x s pixels, or "gaussian".
        brightness: The positive brightness :math:`\rho`, with shape (\*, 1, H, W).

    Returns:
        The LR image, with shape (\*, C, H / s, W / s), in the unit of `x`.

    Raises:
        ValueError: If H or W is not a multiple of `scale`, or `psf` is unknown.
    """
    if x.shape[-2] % scale or x.shape[-1] % scale:
        raise ValueError(
            f"The rows and columns of 'x' should be multiples of scale={scale}, got "
            f"{tuple(x.shape)}."
        )

    if brightness is not None:
        rho = degrade(brightness, scale, psf)
        return degrade(x * brightness, scale, psf) / rho

    if psf == "block":
        y = F.avg_pool2d(x.reshape(-1, 1, *x.shape[-2:]), scale)
    else:
        kernel, padding = _kernel(scale, psf, x)
        y = F.conv2d(x.reshape(-1, 1, *x.shape[-2:]), kernel, stride=scale, padding=padding)
        y = y / _border(x.shape[-2:], kernel, scale, padding)

    return y.reshape(*x.shape[:-2], *y.shape[-2:])


def degrade_alive(x: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    r"""Brings an image down by the means of its live pixels, those with a positive sum over bands.

    Args:
        x: The HR image, with shape (B, H, W).
        scale: The factor :math:`s`, a divisor of H and of W.

    Returns:
        The LR image, zero where no pixel is alive, with shape (B, H / s, W / s), and the part of
        each of its pixels that is, with shape (H / s, W / s).
    """
    alive = (x.sum(dim=0, keepdim=True) > 0).to(x)
    # Dead pixels weigh nothing; zero by zero is where there are no others
    y = degrade(x, scale, brightness=alive).nan_to_num(0)

    return y, degrade(alive, scale)[0]


def adjoint(y: Tensor, scale: int, psf: PSF = "block", brightness: Tensor | None = None) -> Tensor:
    r"""Applies the transposed operator, :math:`Y D^\top` or :math:`Y D_\rho^\top`.

    Args:
        y: An LR image, with shape (\*, C, h, w).
        scale: The factor :math:`s`.
        psf: The weights, "block" or "gaussian".
        brightness: The brightness :math:`\rho` of :math:`D_\rho`, with shape (\*, 1, s h, s w).

    Returns:
        An image with shape (\*, C, s h, s w).

    Raises:
        ValueError: If `psf` is unknown.
    """
    if brightness is not None:
        rho = degrade(brightness, scale, psf)
        return brightness * adjoint(y / rho, scale, psf)

    z = y.reshape(-1, 1, *y.shape[-2:])
    kernel, padding = _kernel(scale, psf, y)

    if psf == "gaussian":
        z = z / _border([scale * n for n in y.shape[-2:]], kernel, scale, padding)

    x = F.conv_transpose2d(z, kernel, stride=scale, padding=padding)

    return x.reshape(*y.shape[:-2], *x.shape[-2:])


def upsample(y: Tensor, scale: int, mode: Literal["bilinear", "bicubic"] = "bilinear") -> Tensor:
    r"""Interpolates an image to `scale` times its rows and columns, centres of blocks aligned.

    Args:
        y: An image, with shape (\*, C, h, w).
        scale: The factor :math:`s`.
        mode: The interpolation. "bicubic" can overshoot the range of `y`.

    Returns:
        The image, with shape (\*, C, s h, s w).
    """
    z = y.reshape(1, -1, *y.shape[-2:])
    x = F.interpolate(z, scale_factor=scale, mode=mode, align_corners=False)

    return x.reshape(*y.shape[:-2], *x.shape[-2:])


def enlarge(y: Tensor, scale: int) -> Tensor:
    r"""Repeats each pixel in the `scale` times `scale` ones that it covers, whatever its type.

    Args:
        y: An image or a mask, with shape (\*, h, w).
        scale: The factor :math:`s`.

    Returns:
        The image, with shape (\*, s h, s w).
    """
    return y.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)


def pad_to_multiple(y: Tensor, multiple: int) -> Tensor:
    r"""Repeats the last row and column until their numbers are multiples of `multiple`.

    Args:
        y: An image, with shape (\*, C, h, w).
        multiple: The number that has to divide rows and columns.

    Returns:
        The image, with shape (\*, C, h', w'), `y` in its upper left corner.
    """
    h, w = y.shape[-2:]
    z = F.pad(y.reshape(1, -1, h, w), (0, -w % multiple, 0, -h % multiple), mode="replicate")

    return z.reshape(*y.shape[:-2], *z.shape[-2:])


def _kernel(scale: int, psf: str, like: Tensor) -> tuple[Tensor, int]:
    if psf == "block":
        return like.new_full((1, 1, scale, scale), 1 / scale**2), 0
    elif psf == "gaussian":
        # As even or odd as the scale, so that the kernel is centred on the block
        padding = (scale + 1) // 2
        offset = torch.arange(scale + 2 * padding) - (scale + 2 * padding - 1) / 2
        g = torch.exp2(-((2 * offset / scale) ** 2)).to(like)
        g = g / g.sum()
        return (g[:, None] * g)[None, None], padding
    else:
        raise ValueError(f"Unknown psf '{psf}', expected one of {get_args(PSF)}.")


def _border(shape: tuple[int, int], kernel: Tensor, scale: int, padding: int) -> Tensor:
    return F.conv2d(kernel.new_ones(1, 1, *shape), kernel, stride=scale, padding=padding)
