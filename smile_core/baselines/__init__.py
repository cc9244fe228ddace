r"""Baselines: published methods to compare with, each from its paper.

Every one is a function `method(image, R, seed=0)` that takes an image of shape (B, h, w) and a
number of endmembers, and returns the endmembers, with shape (B, R), and the abundances in the
simplex, with shape (R, h, w), as the method itself reports them. None sees a reference, and all
constants are the same for every scene. A method that fails raises an error; none returns NaN.

========== ===================================== =================================================
name       paper                                 assumes
========== ===================================== =================================================
VCA        Nascimento, Bioucas-Dias, 2005        pure pixels; any brightness if the noise is low
SPA        Araujo et al., 2001;                  pure pixels, of norms that brightness leaves
           Gillis, Vavasis, 2014                 alone; little noise
SISAL      Bioucas-Dias, 2009                    pixels on all facets of a simplex; no brightness
EDAA       Zouaoui et al., 2023                  endmembers that are convex combinations of pixels
                                                 of unit norm
CNNAEU     Palsson, Ulfarsson, Sveinsson, 2021   endmembers and context shared by all patches
DeepTrans  Ghosh et al., 2022                    as CNNAEU, context among patches far apart
PGMSU      Shi et al., 2022                      endmembers that vary from pixel to pixel, near VCA
========== ===================================== =================================================

VCA, SPA and SISAL are followed by fully constrained least squares. `METHODS` has them by name.
"""

__all__ = ["METHODS"]

from collections.abc import Callable
from torch import Tensor

from . import cnnaeu, deeptrans, edaa, geometric, pgmsu, volume

METHODS: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "VCA": geometric.vca_fcls,
    "SPA": geometric.spa_fcls,
    "SISAL": volume.sisal_fcls,
    "EDAA": edaa.edaa,
    "CNNAEU": cnnaeu.cnnaeu,
    "DeepTrans": deeptrans.deeptrans,
    "PGMSU": pgmsu.pgmsu,
}
