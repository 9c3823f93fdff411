"""Axes of new figures, the colours, and what all pictures leave out."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.errors import LmeFormulaError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Two hues that stand apart on white and on black, also for readers who see colours differently.
BLUE, ORANGE, GREY = "#3d7ab8", "#e07b39", "#8a8f98"
# More of them, for curves side by side.
GREEN, VIOLET, PINK = "#3a9a78", "#8a6bbf", "#c8587f"


def one_axes(name: str, value: object) -> None:
    """Check that an argument is a pair of axes."""
    from matplotlib.axes import Axes

    if not isinstance(value, Axes):
        raise kinds.refuse(
            name, value, "Give axes of matplotlib: _, ax = matplotlib.pyplot.subplots()."
        )


def axes_of_panels(name: str, value: object) -> None:
    """Check that an argument is a sequence of axes, or an array of them."""
    found = np.empty(0, object)
    # What `subplots` gives, and its `flat`.
    if isinstance(value, Sequence | np.ndarray | np.flatiter) and not isinstance(
        value, str | bytes
    ):
        found = np.array([*np.atleast_1d(np.asarray(value, object))], object).reshape(-1)
    if not found.size:
        raise kinds.refuse(name, value, "Give one pair of axes for each parameter, in a list.")
    for one in found:
        one_axes(name, one)


def num_columns(num_panels: int) -> int:
    """How many panels stand side by side."""
    return min(num_panels, 3)


def panels(num_panels: int, axes: Sequence[Axes] | None) -> NDArray[np.object_]:
    """The axes that were given, or those of a new figure, in rows of three."""
    if axes is not None:
        return np.asarray(axes, dtype=object).reshape(-1)
    columns = num_columns(num_panels)
    size = (3.2 * columns, 2.1 * -(-num_panels // columns))
    return panels_on(_pyplot().figure(figsize=size, layout="constrained"), num_panels)


def panels_on(figure: Figure, num_panels: int) -> NDArray[np.object_]:
    """Axes on a figure, in rows of three."""
    columns = num_columns(num_panels)
    rows = -(-num_panels // columns)
    places = range(1, num_panels + 1)
    return np.array([figure.add_subplot(rows, columns, i) for i in places], object)


def new_axes(height: float = 4.0) -> Axes:
    """Axes of a new figure of its own."""
    _, ax = _pyplot().subplots(figsize=(7.0, height), layout="constrained")
    axes: Axes = ax
    return axes


def finish(ax: Axes, title: str, grid: Literal["x", "y"] | None, **labels: str) -> Axes:
    """Give axes their title and labels, take away what is not data, and hand them on."""
    ax.set(**labels)
    ax.set_title(title, loc="left")
    lighten(ax, grid)
    return ax


def lighten(ax: Axes, grid: Literal["x", "y"] | None) -> None:
    """Take away what is not data: two spines, and grid lines except faint ones along `grid`."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(False)
    if grid is not None:
        ax.grid(True, axis=grid, color=GREY, alpha=0.2, linewidth=0.6)
    ax.set_axisbelow(True)


def _pyplot() -> ModuleType:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise LmeFormulaError(
            "Plots need matplotlib, which is not installed.",
            hint="Install it with: pip install 'lmeformula[plots]'",
        ) from error
    return plt
