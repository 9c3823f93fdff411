"""View stage: the progress of a Monte Carlo EM run in plain lines, and how far it has come."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TextIO

from lmeformula.em.schedule import NEGLIGIBLE
from lmeformula.em.types import Iteration

PLAIN_INTERVAL = 5.0  # seconds between two lines where there is no terminal


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


class PlainProgress:
    """Writes a line for the first iteration, then one every few seconds, then one for the last."""

    def __init__(self, stream: TextIO, tolerance: float) -> None:
        self._stream = stream
        self._tolerance = tolerance
        self._waiting: Iteration | None = None
        self._last_time = -math.inf
        self._began = time.monotonic()

    def start(self, names: Sequence[str]) -> None:
        """Say that the run begins."""
        self._began = time.monotonic()
        self._stream.write(f"Monte Carlo EM: {len(names)} parameters\n")
        self._stream.flush()

    def update(self, iteration: Iteration) -> None:
        """Write the record if the last line is old enough."""
        self._waiting = iteration
        if time.monotonic() - self._last_time >= PLAIN_INTERVAL:
            self._write()

    def stop(self) -> None:
        """Write the last record unless it stands there already."""
        self._write()

    def _write(self) -> None:
        record, self._waiting = self._waiting, None
        if record is None:
            return
        self._last_time = time.monotonic()
        seconds = self._last_time - self._began
        self._stream.write(
            f"iteration {record.number}: {record.num_draws:,} draws a chain, "
            f"{rule(record, self._tolerance)}, {seconds:.1f} s\n"
        )
        self._stream.flush()


def rule(record: Iteration, tolerance: float) -> str:
    """The two quantities of the stop rule, in standard errors."""
    error = f"{record.largest_error:.2g}" if record.largest_error >= 1e-6 else "<1e-6"
    return f"step {record.largest_step:.2g} se, MC error {error} of {tolerance:.2g} se"
