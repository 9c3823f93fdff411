"""View stage: correlation matrices as coloured squares."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.axes import BLUE, ORANGE, finish, new_axes, one_axes
from lmeformula.fit import FittedModel
from lmeformula.inference.correlations import correlations
from lmeformula.text.names import BESIDE, drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# With more rows than these the numbers, and the names, are left out.
NUMBERED, NAMED = 14, 60


@kinds.takes(term=kinds.optional(kinds.text), ax=kinds.optional(one_axes))
def correlation(fit: FittedModel, term: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw correlations of the estimates, or of the random effects of a term: blue below zero, orange above.

    Args:
      fit: a fitted model.
      term: name of a random-effects term of several columns; by default the estimates of all parameters.
      ax: axes to draw on; a new figure by default.
    Returns:
      ax: the axes drawn on: a square for each pair, the fainter the nearer to zero, a cross where there is no
        number; with the numbers where there are few.
    Raises:
      ModelError: if there is no such term, or it has one column.
    """
    found = correlations(fit, term)
    d = len(found.names)
    rows, columns = np.tril_indices(d, -1)
    values = found.values[rows, columns]
    if ax is None:
        ax = new_axes(height=float(np.clip(1.6 + 0.32 * d, 2.4, 9.0)))
    picture = np.zeros((d - 1, d - 1, 4))
    picture[rows - 1, columns] = _paint(values)
    ax.imshow(picture, aspect="auto", interpolation="nearest")
    if d <= NUMBERED:
        for i, j, value in zip(rows - 1, columns, values, strict=True):
            text = f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "×"
            ax.text(float(j), float(i), text, ha="center", va="center", fontsize="small")
    else:
        unknown = ~np.isfinite(values)
        ax.plot(columns[unknown], rows[unknown] - 1, "x", markersize=3)
    step = 1 if d <= NAMED else -(-d // NAMED)
    places = np.arange(0, d - 1, step)
    size = "medium" if d <= NUMBERED else "x-small" if d <= 40 else "xx-small"
    ax.set_xticks(
        places,
        [drawn(found.names[i], BESIDE) for i in places],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    ax.set_yticks(places, [drawn(found.names[i + 1], BESIDE) for i in places])
    ax.tick_params(length=0, labelsize=size)
    ax.spines[["left", "bottom"]].set_visible(False)
    return finish(ax, f"Correlations of the {drawn(found.of_what)}", None)


def _paint(values: Floats) -> Floats:
    """(m, 4) colours over whatever paper: the hue is the sign, the opacity the size."""
    from matplotlib.colors import to_rgb

    colours = np.empty((len(values), 4))
    colours[:, :3] = np.where((values < 0)[:, None], to_rgb(BLUE), to_rgb(ORANGE))
    colours[:, 3] = np.nan_to_num(np.abs(values))
    return colours
