"""Something that shows how a run of the engine is going: what it is told, and when."""

from __future__ import annotations

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


class Silent:
    """Shows nothing."""

    def start(self, names: tuple[str, ...]) -> None:
        """Do nothing."""

    def update(self, iteration: Iteration) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
