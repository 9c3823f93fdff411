"""View stage: the progress of a Monte Carlo EM run in a line, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack

from lmeformula.em.schedule import NEGLIGIBLE
from lmeformula.em.types import Iteration
from lmeformula.watch import Watch, watched


def excess(iteration: Iteration, tolerance: float) -> float:
    """Say how far an iteration is from satisfying the stop rule.

    The rule wants each Monte Carlo error below the tolerance and each step within its own error; this
    takes the largest of both over the parameters, which is what the records have.

    Args:
      iteration: its step and error.
      tolerance: the Monte Carlo error, in standard errors, at which the run may stop.
    Returns:
      excess: by what factor the step or the error is too large; at most 1 where both are small enough.
    """
    num_params = max(len(iteration.estimates), 1)
    within = math.sqrt(4.0 + 2.0 * math.log(num_params)) * iteration.largest_error
    step = iteration.largest_step / (within + NEGLIGIBLE * tolerance)
    return max(iteration.largest_error / tolerance, step)


def share_covered(first: float, current: float) -> float:
    """Say what share of the way to the stop rule lies behind.

    Args:
      first: the excess of the first iteration.
      current: the excess now.
    Returns:
      share: 0 at the start, 1 at an excess of 1, on a logarithmic scale: halving the excess is the
        same step everywhere on the way.
    Example:
      >>> share_covered(100.0, 10.0)
      0.5
    """
    if current <= 1.0:
        return 1.0
    if not 1.0 < first < math.inf or not current < math.inf:  # also where one of them is NaN
        return 0.0
    return min(max(math.log(first / current) / math.log(first), 0.0), 1.0)


class LineProgress:
    """One line, where somebody looks: see `watched`."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._first_excess = math.nan
        self._open = ExitStack()
        self._watch: Watch | None = None

    def start(self, names: Sequence[str]) -> None:
        """Begin to watch."""
        self._watch = self._open.enter_context(watched("Monte Carlo EM", of="iterations"))

    def update(self, iteration: Iteration) -> None:
        """Say how far an iteration has come."""
        now = excess(iteration, self._tolerance)
        if math.isnan(self._first_excess):
            self._first_excess = now
        if self._watch is not None:
            share = share_covered(self._first_excess, now)
            self._watch.step(note=rule(iteration, self._tolerance), share=share)

    def stop(self) -> None:
        """Take the line away."""
        self._open.close()


def rule(record: Iteration, tolerance: float) -> str:
    """The two quantities of the stop rule, in standard errors."""
    error = f"{record.largest_error:.2g}" if record.largest_error >= 1e-6 else "<1e-6"
    return f"step {record.largest_step:.2g} se, MC error {error} of {tolerance:.2g} se"
