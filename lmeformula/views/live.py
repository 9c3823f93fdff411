"""View stage: the progress of a Monte Carlo EM run, live on a terminal; or the choice of one line."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lmeformula.em.progress import Progress
from lmeformula.em.types import Iteration
from lmeformula.views.progress import LineProgress, excess, rule, share_covered
from lmeformula.watch import PATIENCE

SHOWN = 12  # parameters shown while the fit runs


def progress_display(tolerance: float, stream: TextIO | None = None) -> Progress:
    """Choose the display: live on a terminal, a line in a notebook, nothing elsewhere.

    Args:
      tolerance: the Monte Carlo error, in standard errors, at which the run may stop.
      stream: where to write; standard error by default.
    Returns:
      display: to be started, updated and stopped by the run.
    """
    stream = sys.stderr if stream is None else stream
    console = Console(file=stream)
    is_live = console.is_terminal
    return LiveProgress(console, tolerance) if is_live else LineProgress(tolerance)


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
        """Begin the clock: a run that is soon at its end shows nothing."""
        self._names = tuple(names)
        self._began = time.monotonic()

    def update(self, iteration: Iteration) -> None:
        """Redraw for one finished iteration."""
        if math.isnan(self._first_excess):
            self._first_excess = excess(iteration, self._tolerance)
        if self._live is None and time.monotonic() - self._began >= PATIENCE:
            self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False)
            self._live.start()
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
        grid.add_row("  to the stop rule", bar, rule(record, self._tolerance))
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
