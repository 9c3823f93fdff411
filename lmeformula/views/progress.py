"""View stage: the progress of a Monte Carlo EM run, live on a terminal, else in plain lines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmeformula.arguments import kinds
from lmeformula.em.schedule import NEGLIGIBLE
from lmeformula.em.types import Iteration

if TYPE_CHECKING:
    from lmeformula.em.progress import Progress

SHOWN = 12  # parameters shown while the fit runs
PLAIN_INTERVAL = 5.0  # seconds between two lines where there is no terminal


def progress_display(
    progress: bool | Progress, *, tolerance: float, stream: TextIO | None = None
) -> Progress | None:
    """Choose the display: live on a terminal, plain lines elsewhere, none on request.

    Args:
      progress: True for a display, False for none; a Progress of the caller's is returned as it is.
      tolerance: the Monte Carlo error, in standard errors, at which the run may stop.
      stream: where to write; standard error by default.
    Returns:
      display: to be started, updated and stopped by the run, or None to show nothing.
    """
    if not isinstance(progress, bool):
        kinds.display("progress", progress)
        return progress
    if not progress:
        return None
    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    is_live = console.is_terminal
    return LiveProgress(console, tolerance) if is_live else PlainProgress(stream, tolerance)


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
            f"{_rule(record, self._tolerance)}, {seconds:.1f} s\n"
        )
        self._stream.flush()


class LiveProgress:
    """Redraws a small panel in place: counts, distance to the stop rule, current estimates."""

    def __init__(self, console: Console, tolerance: float) -> None:
        self._console = console
        self._tolerance = tolerance
        self._names: tuple[str, ...] = ()
        self._first_excess = math.nan
        self._began = time.monotonic()
        self._live: Live | None = None

    def start(self, names: Sequence[str]) -> None:
        """Open the display."""
        self._names = tuple(names)
        self._began = time.monotonic()
        waiting = Text("Monte Carlo EM: compiling the first iteration ...", style="dim")
        self._live = Live(waiting, console=self._console, auto_refresh=False, redirect_stdout=False)
        self._live.start(refresh=True)

    def update(self, iteration: Iteration) -> None:
        """Redraw for one finished iteration."""
        if math.isnan(self._first_excess):
            self._first_excess = excess(iteration, self._tolerance)
        if self._live is not None:
            self._live.update(self.render(iteration), refresh=True)

    def stop(self) -> None:
        """Close the display and give the cursor back; the last state stays on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self, record: Iteration) -> RenderableType:
        """Draw one state of the display."""
        head = Text.assemble(
            ("Monte Carlo EM", "bold"),
            f"  iteration {record.number}, {record.num_draws:,} draws a chain, "
            f"acceptance {record.acceptance:.2f}, {time.monotonic() - self._began:.1f} s",
        )
        return Group(head, self._distance(record), self._estimates(record))

    def _distance(self, record: Iteration) -> RenderableType:
        share = share_covered(self._first_excess, excess(record, self._tolerance))
        grid = Table.grid(padding=(0, 1))
        room = min(max(self._console.width - 64, 4), 20)
        bar = ProgressBar(total=1.0, completed=share, width=room)
        grid.add_row("  to the stop rule", bar, _rule(record, self._tolerance))
        return grid

    def _estimates(self, record: Iteration) -> RenderableType:
        """Names and estimates in as many columns as the terminal has room for."""
        # The variance parameters come last and move most: when there are too many, show those.
        shown = list(zip(self._names, record.estimates, strict=True))
        hidden = max(0, len(shown) - SHOWN)
        shown = shown[hidden:]
        wide = max(len(name) for name, _ in shown) + 14
        num_columns = max(1, min(len(shown), self._console.width // wide))
        num_rows = -(-len(shown) // num_columns)
        num_columns = -(-len(shown) // num_rows)
        grid = Table.grid(padding=(0, 2))
        for _ in range(num_columns):
            grid.add_column(style="dim", no_wrap=True)
            grid.add_column(justify="right", no_wrap=True)
        for i in range(num_rows):
            cells: list[str | Text] = []
            for name, value in shown[i::num_rows]:
                cells += [Text(f"  {name}"), f"{value:.4f}"]
            grid.add_row(*cells)
        if not hidden:
            return grid
        return Group(grid, Text(f"  and {hidden} more parameters", style="dim"))


def _rule(record: Iteration, tolerance: float) -> str:
    """The two quantities of the stop rule, in standard errors."""
    error = f"{record.largest_error:.2g}" if record.largest_error >= 1e-6 else "<1e-6"
    return f"step {record.largest_step:.2g} se, MC error {error} of {tolerance:.2g} se"
