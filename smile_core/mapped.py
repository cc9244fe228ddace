r"""Arrays that are mapped to files, sent to workers as names of files instead of numbers.

NumPy copies all numbers of a mapped array into what it sends. A `Mapped` array sends the name of
its file and where its numbers lie there, and is mapped again where it arrives.
"""

__all__ = ["Mapped"]

import functools
import numpy as np

from typing import Any


class Mapped:
    r"""Creates the description of a mapped array.

    Args:
        array: An array mapped to a file by `numpy.memmap` or `numpy.load`, or a view of one.

    Raises:
        ValueError: If the array is not mapped to a file.
    """

    def __init__(self, array: np.ndarray) -> None:
        root = array
        while isinstance(root.base, np.ndarray):
            root = root.base
        if not isinstance(root, np.memmap) or root.filename is None:
            raise ValueError(
                "For workers to read it themselves, the image should be mapped to a file, as by "
                f"np.load(path, mmap_mode='r'), got {type(array).__name__}."
            )

        self.path = str(root.filename)
        self.dtype, self.shape, self.strides = array.dtype, array.shape, array.strides
        first, start = (x.__array_interface__["data"][0] for x in (array, root))
        self.offset = root.offset + first - start

    @functools.cached_property
    def array(self) -> np.ndarray:
        r"""The array, mapped when it is asked for first."""
        file = np.memmap(self.path, mode="r")
        return np.ndarray(self.shape, self.dtype, file, self.offset, self.strides)

    @property
    def ndim(self) -> int:
        r"""The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        r"""The number of numbers."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        return self.array[key]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "array"}
