r"""Damaged files: a few bytes changed, and the end cut off."""

__all__ = ["damage", "damaging"]

from collections.abc import Callable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def damaging(examples: int) -> Callable:
    r"""Decorates a test that takes so many damaged files, at leisure, in one folder."""
    checks = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=examples, deadline=None, suppress_health_check=checks)


def damage(content: bytes, data: st.DataObject, *, changes: int = 5, first: int = 0) -> bytes:
    r"""Changes at most so many bytes, from the first one that may change on, and may cut the end.

    Args:
        content: What the file holds.
        data: What hypothesis draws from.
        changes: The number of bytes to change, at most.
        first: The place of the first byte that may change.
    """
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(0, changes))):
        damaged[data.draw(st.integers(first, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    return bytes(damaged[: data.draw(st.just(None) | st.integers(0, len(damaged)))])
