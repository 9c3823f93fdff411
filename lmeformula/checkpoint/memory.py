"""What likelihoods and geometries remember from one call to the next, to start near the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lmeformula.checkpoint.trees import Tree


class Remembers(Protocol):
    """Something whose next answer depends, in its last bits, on those before.

    Attributes:
      held: what it remembers, which is replaced and never changed. Set to what it was before, the same question
        gets the same answer to the bit.
    """

    held: Any


class Memory(Remembers, Protocol):
    """The same of a likelihood, whose memory may hold what has no place in a file."""

    def noted(self, before: Any) -> Tree:
        """Of what was held before the last question, records and arrays that tell all that its answer needs."""


class Remembered:
    """A place for what is remembered.

    Args:
      held: at first.
    """

    def __init__(self, held: Any = None) -> None:
        self.held = held


class Nothing:
    """The memory of what has none."""

    held: Any = None

    def noted(self, before: Any) -> None:
        """Nothing."""


@contextmanager
def unremembered(memory: Remembers | None) -> Iterator[None]:
    """Remember nothing of what is asked inside: whether it was, or a checkpoint told, makes no difference."""
    held = None if memory is None else memory.held
    yield
    if memory is not None:
        memory.held = held
