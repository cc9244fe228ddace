r"""Metrics: how far endmembers, abundances and images are from a reference.

Spectra are compared by their angle, which no brightness changes,

.. math:: \angle(p, q) = 2 \arctan \frac{\| \bar p - \bar q \|}{\| \bar p + \bar q \|},
    \qquad \bar p = p / \|p\|

in radians. Everything is computed in float64 on the CPU, and takes tensors or arrays.
"""

__all__ = [
    "angle",
    "armse",
    "ergas",
    "match",
    "psnr",
    "reconstruction",
    "rescale",
    "sam",
    "score",
    "ssim",
]

import torch

from scipy.optimize import linear_sum_assignment
from torch import Tensor


def angle(p: Tensor, q: Tensor, dim: int = 0) -> Tensor:
    r"""Computes the spectral angle, accurate near 0 and :math:`\pi` as an arc cosine is not.

    References:
        | How Futile are Mindless Assessments of Roundoff (Kahan, 2006), section 12
        | https://people.eecs.berkeley.edu/~wkahan/Mindless.pdf

    Args:
        p: The spectra :math:`p`, with shape :math:`(*, B, *)`.
        q: The spectra :math:`q`, with a shape that broadcasts with that of :math:`p`.
        dim: The dimension of the bands.

    Returns:
        The angles in radians, in [0, :math:`\pi`], without dimension `dim`. A zero vector is at
        :math:`\pi / 2` of any other.
    """
    p, q = (torch.nn.functional.normalize(_float64(v), dim=dim, eps=1e-300) for v in (p, q))
    chord = torch.linalg.vector_norm(p - q, dim=dim)
    cochord = torch.linalg.vector_norm(p + q, dim=dim)
    dead = (p == 0.0).all(dim=dim) | (q == 0.0).all(dim=dim)

    return torch.where(dead, torch.pi / 2, 2.0 * torch.atan2(chord, cochord))


def match(M: Tensor, M_ref: Tensor) -> tuple[Tensor, Tensor]:
    r"""Matches endmembers to the reference, with the smallest sum of spectral angles.

    Args:
        M: The endmembers :math:`M`, with shape :math:`(B, R)`.
        M_ref: The reference endmembers, with shape :math:`(B, R)`.

    Returns:
        The permutation, such that `M[:, permutation]` and `M_ref` correspond, and the angle of
        each pair in radians, in the order of the reference, both with shape :math:`(R,)`.

    Raises:
        ValueError: If shapes disagree or values are not finite.
    """
    M, M_ref = _pair("M", M, "M_ref", M_ref)
    angles = angle(M[:, None, :], M_ref[:, :, None])  # (reference, estimate)
    rows, columns = map(torch.as_tensor, linear_sum_assignment(angles.numpy()))

    return columns, angles[rows, columns]


def armse(a: Tensor, a_ref: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Computes the root mean square error of abundances.

    .. math:: \text{aRMSE} = \sqrt{\frac{1}{R N} \sum_{k, i} (a_{ki} - \hat a_{ki})^2}

    Args:
        a: The abundances, with shape :math:`(R, H, W)`, in the order of the reference.
        a_ref: The reference abundances, with shape :math:`(R, H, W)`.
        mask: Where to compare, boolean, with shape :math:`(H, W)`. Everywhere if `None`.

    Returns:
        The error, a fraction.

    Raises:
        ValueError: If shapes disagree, values are not finite or the mask is empty.
    """
    return _squared_error(a, a_ref, mask).mean().sqrt()


def rescale(a: Tensor, M: Tensor, M_ref: Tensor) -> Tensor:
    r"""Gives abundances the scale of the reference endmembers.

    .. math:: a_k \gets \frac{a_k \|m_k\| / \|m^\text{ref}_k\|}
        {\sum_j a_j \|m_j\| / \|m^\text{ref}_j\|}

    Args:
        a: The abundances that go with :math:`M`, with shape :math:`(R, H, W)`.
        M: The endmembers, with shape :math:`(B, R)`, in the order of the reference.
        M_ref: The reference endmembers, with shape :math:`(B, R)`.

    Returns:
        The scale-matched abundances, with shape :math:`(R, H, W)`.

    Raises:
        ValueError: If shapes disagree, or an endmember is zero.
    """
    M, M_ref = _pair("M", M, "M_ref", M_ref)
    if not (M.any(dim=0).all() and M_ref.any(dim=0).all()):
        raise ValueError("M and M_ref should have no endmember that is zero in all bands.")

    ratio = torch.linalg.vector_norm(M, dim=0) / torch.linalg.vector_norm(M_ref, dim=0)
    a = _float64(a) * ratio[:, None, None]

    return a / a.sum(dim=0)


def psnr(x: Tensor, x_ref: Tensor, data_range: float) -> float:
    r"""Computes the peak signal-to-noise ratio in dB, pooled over all bands and pixels.

    Args:
        x: The image, with shape :math:`(B, H, W)`.
        x_ref: The reference image, with shape :math:`(B, H, W)`.
        data_range: The peak, in the unit of the images (1 for reflectance).

    Returns:
        The ratio, infinite for identical images.
    """
    x, x_ref = _pair("x", x, "x_ref", x_ref)
    from torchmetrics.functional.image import peak_signal_noise_ratio  # slow to import

    return peak_signal_noise_ratio(x, x_ref, data_range=float(data_range)).item()


def ssim(x: Tensor, x_ref: Tensor, data_range: float) -> float:
    r"""Computes the structural similarity, averaged over bands and windows.

    Windows are Gaussian, of standard deviation 1.5 over 11 x 11 pixels, and inside the image.

    References:
        | Image Quality Assessment: From Error Visibility to Similarity (Wang et al., 2004)
        | https://doi.org/10.1109/TIP.2003.819861

    Args:
        x: The image, with shape :math:`(B, H, W)`, of at least 11 x 11 pixels.
        x_ref: The reference image, with shape :math:`(B, H, W)`.
        data_range: The peak, in the unit of the images (1 for reflectance).

    Returns:
        The similarity, 1 for identical images.
    """
    x, x_ref = _pair("x", x, "x_ref", x_ref)
    if min(x.shape[1:]) < 11:
        raise ValueError(f"x should have at least 11 x 11 pixels, got {tuple(x.shape[1:])}.")

    from torchmetrics.functional.image import structural_similarity_index_measure

    # The mean that torchmetrics returns has windows over the border, on reflected pixels
    _, similarity = structural_similarity_index_measure(
        x[None], x_ref[None], data_range=float(data_range), return_full_image=True
    )
    return similarity[..., 5:-5, 5:-5].mean().item()


def sam(x: Tensor, x_ref: Tensor) -> float:
    r"""Computes the mean spectral angle in radians, but for pixels that are zero in an image.

    Args:
        x: The image, with shape :math:`(B, H, W)`.
        x_ref: The reference image, with shape :math:`(B, H, W)`.
    """
    x, x_ref = _pair("x", x, "x_ref", x_ref)
    alive = x.any(dim=0) & x_ref.any(dim=0)
    if not alive.any():
        raise ValueError("x and x_ref should share a pixel that is not zero in all bands.")

    from torchmetrics.functional.image import spectral_angle_mapper

    # As an image of one row
    return spectral_angle_mapper(x[None, :, None, alive], x_ref[None, :, None, alive]).item()


def ergas(x: Tensor, x_ref: Tensor, scale: float) -> float:
    r"""Computes the relative dimensionless global error in synthesis.

    .. math:: \text{ERGAS} = \frac{100}{s} \sqrt{\frac{1}{B} \sum_b
        \frac{\text{MSE}_b}{\mu_b^2}}

    References:
        | Data Fusion: Definitions and Architectures (Wald, 2002)
        | https://minesparis-psl.hal.science/hal-00464703

    Args:
        x: The image, with shape :math:`(B, H, W)`.
        x_ref: The reference image, of band means :math:`\mu_b`, with shape :math:`(B, H, W)`.
        scale: The scale factor :math:`s` between the low and the high resolution, 4 for x4.
    """
    x, x_ref = _pair("x", x, "x_ref", x_ref)
    if not x_ref.mean(dim=(1, 2)).all():
        raise ValueError("x_ref should have no band of mean zero, to which no error is relative.")

    from torchmetrics.functional.image import (
        error_relative_global_dimensionless_synthesis as total,
    )

    return total(x[None], x_ref[None], ratio=float(scale)).item()


def reconstruction(x: Tensor, x_hat: Tensor) -> dict[str, float]:
    r"""Compares an image with its reconstruction, after the best gain of each pixel.

    .. math:: g_i = \arg \min_g \|x_i - g \hat x_i\| = \hat x_i^\top x_i / \|\hat x_i\|^2

    Args:
        x: The image, with shape :math:`(B, H, W)`. Its pixels that are zero are left out.
        x_hat: The reconstruction :math:`\hat X`, with shape :math:`(B, H, W)`.

    Returns:
        The mean spectral angle in radians (`angle`), and the root mean square of :math:`x_i -
        g_i \hat x_i` over bands and pixels (`rmse`), in the unit of the image.
    """
    x, x_hat = _pair("x", x, "x_hat", x_hat)
    alive = x.any(dim=0)
    if not alive.any():
        raise ValueError("x should have a pixel that is not zero in all bands.")

    x, x_hat = x[:, alive], x_hat[:, alive]  # (bands, pixels)
    # A zero reconstruction has gain zero
    gain = (x_hat * x).sum(dim=0) / x_hat.square().sum(dim=0).clamp_min(1e-300)

    return {
        "angle": angle(x, x_hat).mean().item(),
        "rmse": (x - gain * x_hat).square().mean().sqrt().item(),
    }


def score(
    M: Tensor, a: Tensor, M_ref: Tensor, a_ref: Tensor, mask: Tensor | None = None
) -> dict[str, float | list[float] | list[int]]:
    r"""Scores the result of unmixing against a reference, endmembers in any order.

    Args:
        M: The endmembers, with shape :math:`(B, R)`.
        a: The abundances, with shape :math:`(R, H, W)`.
        M_ref: The reference endmembers, with shape :math:`(B, R)`.
        a_ref: The reference abundances, with shape :math:`(R, H, W)`.
        mask: Where to compare abundances, boolean, with shape :math:`(H, W)`.

    Returns:
        Numbers and lists that JSON can hold, in the order of the reference: `permutation`, of
        `match`; `sad`, the spectral angles in radians, and `sad_mean`; `armse` and
        `armse_per_endmember`, of the abundances as they are; `armse_matched`, of the abundances
        after `rescale`.
    """
    permutation, sad = match(M, M_ref)
    M, a = _float64(M)[:, permutation], _float64(a)[permutation]

    return {
        "permutation": permutation.tolist(),
        "sad": sad.tolist(),
        "sad_mean": sad.mean().item(),
        "armse": armse(a, a_ref, mask).item(),
        "armse_per_endmember": _squared_error(a, a_ref, mask).mean(dim=1).sqrt().tolist(),
        "armse_matched": armse(rescale(a, M, M_ref), a_ref, mask).item(),
    }


def _float64(x: Tensor) -> Tensor:
    return torch.as_tensor(x).detach().to("cpu", torch.float64)


def _pair(name: str, x: Tensor, name_ref: str, x_ref: Tensor) -> tuple[Tensor, Tensor]:
    x, x_ref = _float64(x), _float64(x_ref)
    if x.shape != x_ref.shape:
        raise ValueError(
            f"{name} and {name_ref} should have the same shape, got {tuple(x.shape)} and "
            f"{tuple(x_ref.shape)}."
        )
    for key, value in ((name, x), (name_ref, x_ref)):
        if not value.isfinite().all():
            raise ValueError(f"{key} should be finite, got NaN or infinite values.")

    return x, x_ref


def _squared_error(a: Tensor, a_ref: Tensor, mask: Tensor | None) -> Tensor:
    a, a_ref = _pair("a", a, "a_ref", a_ref)
    mask = torch.ones(a.shape[1:]).bool() if mask is None else torch.as_tensor(mask).cpu()
    if mask.dtype != torch.bool or mask.shape != a.shape[1:] or not mask.any():
        raise ValueError(
            f"mask should be boolean, with shape {tuple(a.shape[1:])} and a true pixel, got "
            f"{mask.dtype}, shape {tuple(mask.shape)} and {int(mask.sum())} true pixels."
        )

    return (a - a_ref)[:, mask].square()  # (endmembers, pixels)
