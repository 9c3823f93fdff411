"""The random effects given the data, and the coefficients of each level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel


@kinds.takes(cond_sd=kinds.flag)
def ranef(fit: FittedModel, cond_sd: bool = True) -> pd.DataFrame:
    """Tabulate the random effects, level by level.

    Args:
      fit: a fitted model.
      cond_sd: whether to add the conditional standard deviations.
    Returns:
      frame: columns group, level, term, value and sd; terms in formula order, levels in the order
        of the design, the coefficients of a level together. `value` is the conditional mode given
        the data and the estimates (the mean by `quadrature` and `mcem`), on the scale of the linear
        predictor; `sd` its conditional standard deviation with the parameters taken as known, as
        lme4's `condVar`.
    References:
      Bates, Maechler, Bolker, Walker (2015), J. Stat. Softw. 67(1), section 5.1.
    """
    frames = []
    for block, modes, cov in zip(fit.model.design.terms, fit.modes, fit.mode_cov, strict=True):
        num_levels, k = modes.shape
        columns: dict[str, object] = {
            "group": np.full(num_levels * k, block.group, dtype=object),
            "level": np.repeat(np.asarray(block.levels, dtype=object), k),
            "term": np.tile(np.asarray(block.columns, dtype=object), num_levels),
            "value": modes.reshape(-1),
        }
        if cond_sd:
            columns["sd"] = np.sqrt(np.diagonal(cov, axis1=1, axis2=2)).reshape(-1)
        frame = pd.DataFrame(columns)
        if block.part_of is not None:
            # A level has the coefficients of its own covariance.
            own = block.part_of[:, None] == np.repeat(np.arange(block.parts), k // block.parts)
            frame = frame[own.reshape(-1)]
        frames.append(frame)
    if not frames:
        names = ["group", "level", "term", "value", *(["sd"] if cond_sd else [])]
        return pd.DataFrame({name: [] for name in names})
    return pd.concat(frames, ignore_index=True)


def coef(fit: FittedModel) -> dict[str, pd.DataFrame]:
    """Add the fixed effects to the random effects: the coefficients that hold for each level.

    Args:
      fit: a fitted model.
    Returns:
      frames: by grouping factor, one row a level, one column a coefficient: those of the fixed
        effects, then those that only vary (whose mean is zero). Curves of the population are in `ranef`.
    """
    fixed = dict(zip(fit.model.design.names, fit.params.beta, strict=True))
    frames: dict[str, pd.DataFrame] = {}
    for block, modes in zip(fit.model.design.terms, fit.modes, strict=True):
        if block.role == "population":
            continue
        name = block.group
        if name in frames and len(frames[name]) != len(block.levels):
            # The levels of a known covariance, beside those that the data have.
            name = block.name
        if name not in frames:
            levels = pd.Index(block.levels, name=block.group)
            frames[name] = pd.DataFrame(fixed, index=levels, dtype=float)
        frame = frames[name]
        for column, values in zip(block.columns, modes.T, strict=True):
            if column not in frame:
                frame[column] = 0.0
            frame[column] += values
    return frames


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """One random coefficient over all levels of its grouping factor.

    Attributes:
      group: display name of the grouping factor.
      column: the coefficient.
      levels: (l) names of the levels, in the order of the design.
      values: (l,) as in `ranef`, on the scale of the linear predictor.
      cond_sd: (l,) their conditional standard deviations.
      sd: the estimated standard deviation of the coefficient over the population of levels.
    """

    group: str
    column: str
    levels: tuple[str, ...]
    values: Floats
    cond_sd: Floats
    sd: float

    @property
    def label(self) -> str:
        """The factor alone for an intercept, else coefficient and factor."""
        return self.group if self.column == "Intercept" else f"{self.column} by {self.group}"


def effects_of(fit: FittedModel, group: str | None = None, column: str | None = None) -> Effects:
    """Pick one random coefficient.

    Args:
      fit: a fitted model.
      group: the grouping factor's display name; the first by default.
      column: the coefficient; the first of that factor by default.
    Returns:
      effects: its value for each level.
    Raises:
      ModelError: if there is no such grouping factor or coefficient.
    """
    found = [
        (block, block.columns.index(name), place)
        for place, block in enumerate(fit.model.design.terms)
        for name in block.columns
        if group in (None, block.group) and column in (None, name)
    ]
    if not found:
        known = ", ".join(f"{', '.join(b.columns)} by {b.group}" for b in fit.model.design.terms)
        asked = (f" {column}" if column else "") + (f" by {group}" if group else "")
        raise ModelError(
            f"the fit has no random effects{asked}",
            hint=f"It has {known}." if known else "The formula has no random-effects term.",
        )
    block, j, place = found[0]
    return Effects(
        group=block.group,
        column=block.columns[j],
        levels=block.levels,
        values=fit.modes[place][:, j],
        cond_sd=np.sqrt(fit.mode_cov[place][:, j, j]),
        sd=float(np.sqrt(fit.params.covariances[place][j, j])),
    )
