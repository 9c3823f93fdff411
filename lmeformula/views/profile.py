"""View stage: profile likelihoods as a few lines of text and as pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lmeformula.arguments import kinds
from lmeformula.result.table import Column, Table
from lmeformula.views.axes import BLUE, GREY, ORANGE, lighten, new_panels, several_axes
from lmeformula.views.names import drawn
from lmeformula.views.table import to_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from lmeformula.result.profile import ParameterProfile, Profile


def profile_text(profile: Profile) -> str:
    """Show the profiles by the 95 % intervals that they give, or narrower ones if they end before.

    Args:
      profile: the profiles.
    Returns:
      text: no newline at the end.
    """
    level = min(0.95, profile.level)
    frame = profile.confint(level)
    columns = [
        Column("", tuple(frame["parameter"]), "text"),
        Column("estimate", tuple(map(float, frame["estimate"]))),
        Column("lower", tuple(map(float, frame["lower"]))),
        Column("upper", tuple(map(float, frame["upper"]))),
    ]
    if frame["note"].any():
        columns.append(Column("note", tuple(frame["note"]), "text"))
    what = "Restricted profile likelihood" if profile.restricted else "Profile likelihood"
    points = sum(len(p.values) for p in profile.profiles)
    return to_text(Table(f"{what}, {points} points, {100 * level:g} % intervals", tuple(columns)))


@kinds.takes(axes=kinds.optional(several_axes))
def zeta_plot(profile: Profile, axes: Sequence[Axes] | None = None) -> NDArray[np.object_]:
    """Draw zeta against each parameter: a straight line where its likelihood is that of a normal distribution.

    Horizontal lines mark the 95 % interval, vertical ones its ends.

    Args:
      profile: the profiles.
      axes: one for each parameter; a new figure by default.
    Returns:
      axes: (number of parameters,) of those drawn on.
    """
    drawn = (
        new_panels(len(profile.profiles)) if axes is None else np.asarray(axes, object).reshape(-1)
    )
    level = min(0.95, profile.level)
    ends = profile.confint(level)
    for number, (one, ax) in enumerate(zip(profile.profiles, drawn, strict=True)):
        _draw(one, ax, float(ends["lower"][number]), float(ends["upper"][number]))
    return drawn


def _draw(profile: ParameterProfile, ax: Axes, lower: float, upper: float) -> None:
    fine = np.linspace(profile.zeta[0], profile.zeta[-1], 101)
    ax.axhline(0.0, color=GREY, linewidth=0.8)
    ax.plot([profile.at(zeta) for zeta in fine], fine, color=BLUE, linewidth=1.2)
    ax.plot(profile.values, profile.zeta, "o", color=BLUE, markersize=2.5)
    for end in (lower, upper):
        if math.isfinite(end):
            ax.axvline(end, color=ORANGE, linewidth=1.0)
    ax.set_title(drawn(profile.parameter.name), loc="left", fontsize="medium")
    ax.set_ylabel("zeta")
    lighten(ax, grid="y")
