"""Something that shows how a run of the engine is going: what it is told, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from lmeformula.em.types import Iteration


class Progress(Protocol):
    """Something that shows how a fit is going."""

    def start(self, names: tuple[str, ...]) -> None:
        """Called once, before anything is compiled."""

    def update(self, iteration: Iteration) -> None:
        """Called after each iteration."""

    def stop(self) -> None:
        """Called once, however the run ends."""


class Later:
    """Is chosen when a run starts: a fit that shows nothing does not wait for a display.

    Args:
      choose: gives what is shown.
    """

    def __init__(self, choose: Callable[[], Progress]) -> None:
        self._choose = choose
        self._shown: Progress = Silent()

    def start(self, names: tuple[str, ...]) -> None:
        """Choose it, and start it."""
        self._shown = self._choose()
        self._shown.start(names)

    def update(self, iteration: Iteration) -> None:
        """Update what was chosen."""
        self._shown.update(iteration)

    def stop(self) -> None:
        """Stop what was chosen."""
        self._shown.stop()


class Silent:
    """Shows nothing."""

    def start(self, names: tuple[str, ...]) -> None:
        """Do nothing."""

    def update(self, iteration: Iteration) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
