r"""MATLAB: arrays of numbers from its files of version 5 to 7.2.

A file is a header of 128 bytes and a list of elements, each with its type and its size; one that
holds an array has elements of its own, for its class, its shape, its name and its numbers. Only
these are read: no cells, no structures, no text.

SciPy reads more, but trusts the file: one wrong byte can end the process.

References:
    | MAT-File Format (The MathWorks)
    | https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
"""

__all__ = ["read_arrays"]

import math
import numpy as np
import struct
import zlib

from pathlib import Path

# Types of numbers, and of other elements
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
NUMBERS |= {12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15

# Classes of arrays of numbers, and the flag of those with an imaginary part
CLASSES = range(6, 16)
COMPLEX = 0x800


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    r"""Reads the arrays of numbers of a file.

    Args:
        path: The path of the file.

    Returns:
        The arrays by name, in the type that the file stores them in.

    Raises:
        ValueError: If the file is not of these versions, or broken.
    """
    content = memoryview(path.read_bytes())
    mark = bytes(content[126:128])
    if mark not in (b"IM", b"MI"):
        raise ValueError("It is no file of MATLAB of version 5 to 7.3.")

    order = "<" if mark == b"IM" else ">"
    arrays, start = {}, 128
    while start < len(content):
        kind, body, start = _element(content, start, order)
        if kind == COMPRESSED:
            kind, body, _ = _element(memoryview(_inflate(body)), 0, order)
        if kind == MATRIX:
            name, array = _array(body, order)
            if array is not None:
                arrays[name] = array

    return arrays


def _element(content: memoryview, start: int, order: str) -> tuple[int, memoryview, int]:
    # Its type, its content, and where the next one starts
    if start + 8 > len(content):
        raise ValueError("It ends within an element.")
    kind, size = struct.unpack_from(order + "II", content, start)
    if kind >> 16:  # up to four bytes in place of the size
        kind, size, start = kind & 0xFFFF, kind >> 16, start + 4
        end = start + 4
    else:
        start += 8
        end = start + size + (0 if kind == COMPRESSED else -size % 8)
    if start + size > len(content):
        raise ValueError(f"An element of {size} bytes has {len(content) - start}.")

    return kind, content[start : start + size], end


def _inflate(body: memoryview) -> bytes:
    try:
        return zlib.decompress(body)
    except zlib.error as error:
        raise ValueError(f"A compressed element is broken: {error}.") from error


def _array(body: memoryview, order: str) -> tuple[str, np.ndarray | None]:
    _, flags, start = _element(body, 0, order)
    _, shape, start = _element(body, start, order)
    _, name, start = _element(body, start, order)
    if len(flags) < 4 or len(shape) % 4:
        raise ValueError("An array has no class, or no shape.")
    text, word = bytes(name).decode("latin-1"), struct.unpack_from(order + "I", flags)[0]
    if word & 0xFF not in CLASSES:
        return text, None

    dims = struct.unpack(f"{order}{len(shape) // 4}i", shape)
    real, start = _numbers(body, start, order, dims)
    if not word & COMPLEX:
        return text, real

    return text, real + 1j * _numbers(body, start, order, dims)[0]


def _numbers(
    body: memoryview, start: int, order: str, dims: tuple[int, ...]
) -> tuple[np.ndarray, int]:
    kind, data, start = _element(body, start, order)
    dtype = np.dtype(order + NUMBERS[kind]) if kind in NUMBERS else None
    if dtype is None or min(dims, default=0) < 0 or math.prod(dims) * dtype.itemsize != len(data):
        raise ValueError(f"An array of shape {dims} has {len(data)} bytes of type {kind}.")

    return np.frombuffer(data, dtype).reshape(dims, order="F"), start
