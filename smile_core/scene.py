r"""Scene: an image to unmix, with the reference to compare with.

.. math:: x_i = \rho_i \sum_{k = 1}^R a_{ki} m_k + e_i, \qquad a_i \in \Delta^{R - 1}

with :math:`\rho_i` the brightness of pixel :math:`i` and :math:`e_i` its noise. In a synthetic
scene all of them are known. The reference of a real scene is computed from the image, or taken
from a library, by its authors: it is not a field measurement, and the model holds only roughly.
"""

__all__ = ["Scene", "find_corner", "float32"]

import numpy as np
import torch

from dataclasses import dataclass, replace
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scene:
    r"""An image and its reference.

    Args:
        name: The name of the scene.
        image: The image :math:`X`, reflectance in about [0, 1], with shape :math:`(B, H, W)`,
            in float32.
        M: The reference endmembers :math:`M`, with shape :math:`(B, R)`, if any.
        a: The reference abundances :math:`A`, with shape :math:`(R, H, W)`, if any.
        materials: The names of the :math:`R` endmembers.
        wavelengths: The band centres in nanometres, with shape :math:`(B,)`.
        source: One sentence: real or synthetic, where from, what the reference is.
        brightness: The true :math:`\rho`, with shape :math:`(H, W)`, if known.

    Raises:
        ValueError: If shapes disagree, or values are not finite.
    """

    name: str
    image: Tensor
    M: Tensor | None
    a: Tensor | None
    materials: tuple[str, ...]
    wavelengths: Tensor
    source: str
    brightness: Tensor | None = None

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.dtype != torch.float32:
            raise ValueError(
                f"The image of scene '{self.name}' should be float32 with shape (bands, rows, "
                f"cols), got {self.image.dtype} with shape {tuple(self.image.shape)}."
            )

        (B, H, W), R = self.image.shape, self.R
        shapes = {"wavelengths": (B,), "M": (B, R), "a": (R, H, W), "brightness": (H, W)}
        for key, shape in {"image": (B, H, W), **shapes}.items():
            value = getattr(self, key)
            if value is None and key not in ("image", "wavelengths"):
                continue
            if value.shape != shape:
                raise ValueError(
                    f"The {key} of scene '{self.name}' should have shape {shape}, got "
                    f"{tuple(value.shape)}: the image was read as (bands, rows, cols) = "
                    f"({B}, {H}, {W}), with {R} materials."
                )
            if not value.isfinite().all():
                raise ValueError(
                    f"The {key} of scene '{self.name}' should be finite, got "
                    f"{int((~value.isfinite()).sum())} values that are NaN or infinite."
                )

    def __repr__(self) -> str:
        B, H, W = self.image.shape
        return f"Scene({self.name}: {B} bands, {H} x {W} pixels, {', '.join(self.materials)})"

    @property
    def R(self) -> int:
        r"""The number of endmembers :math:`R`."""
        return len(self.materials)

    @property
    def rgb(self) -> Tensor:
        r"""The image in natural colours, in [0, 1], with shape :math:`(H, W, 3)`.

        The bands nearest to 650, 550 and 450 nm, stretched together from their 2nd to their 98th
        percentile.
        """
        bands = (self.wavelengths - torch.tensor([[650.0], [550.0], [450.0]])).abs().argmin(dim=1)
        x = self.image[bands].movedim(0, -1)
        low, high = np.percentile(x.numpy(), [2, 98]).tolist()

        return ((x - low) / max(high - low, 1e-6)).clamp(0.0, 1.0)

    def crop(self, rows: int, cols: int, at: tuple[int, int] | None = None) -> "Scene":
        r"""Returns the part of the scene in a rectangle.

        Args:
            rows: The number of rows.
            cols: The number of columns.
            at: The first row and the first column. If `None`, the rectangle is in the centre.

        Raises:
            ValueError: If the rectangle is empty or leaves the image.
        """
        r, c = find_corner(self.image.shape[1:], rows, cols, at)
        maps = {key: getattr(self, key) for key in ("image", "a", "brightness")}
        return replace(
            self,
            **{k: v[..., r : r + rows, c : c + cols] for k, v in maps.items() if v is not None},
        )


def find_corner(
    shape: tuple[int, int], rows: int, cols: int, at: tuple[int, int] | None
) -> tuple[int, int]:
    r"""Returns the first row and the first column of a rectangle in an image.

    Args:
        shape: The rows and columns of the image.
        rows: The number of rows of the rectangle.
        cols: The number of columns of the rectangle.
        at: Its first row and first column. If `None`, the rectangle is in the centre.

    Raises:
        ValueError: If the rectangle is empty or leaves the image.
    """
    H, W = shape
    r, c = ((H - rows) // 2, (W - cols) // 2) if at is None else at
    if min(r, c) < 0 or min(rows, cols) < 1 or r + rows > H or c + cols > W:
        raise ValueError(
            f"A crop of {rows} x {cols} pixels at {(r, c)} does not fit in an image of {H} x {W} "
            "pixels."
        )

    return r, c


def float32(x: np.ndarray) -> Tensor:
    r"""Returns an array as a contiguous tensor in float32."""
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
