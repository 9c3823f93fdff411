"""Summaries of draws from a posterior distribution: means, medians, quantiles, and how good the draws are."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from lmeformula.arrays import Floats
from lmeformula.drawn import Draws, Mixing
from lmeformula.errors import ModelError
from lmeformula.estimation.evidence.posterior import mixing_of
from lmeformula.fit import FittedModel
from lmeformula.prediction.parameters import parameters
from lmeformula.text.table import Kind, Table, columns_of

QUANTILES = "Quantiles are of the draws; there are no p-values."
HEADINGS: dict[str, tuple[str, Kind]] = {
    "estimate": ("mean", "number"),
    "std_error": ("sd", "number"),
    "conf_low": ("2.5 %", "number"),
    "conf_high": ("97.5 %", "number"),
    "rhat": ("R-hat", "number"),
    "ess_bulk": ("ESS bulk", "count"),
    "ess_tail": ("ESS tail", "count"),
}


OF_CHAINS = ("rhat", "ess_bulk", "ess_tail")


class Summarised(NamedTuple):
    """A row of `summarised`: the posterior distribution of one parameter.

    Attributes:
      effect, group, term: as in `tidy`.
      estimate: its mean.
      median: its median.
      std_error: its standard deviation.
      conf_low, conf_high: the quantiles between which it lies with the chance `level`.
      rhat: rank-normalised R-hat.
      ess_bulk, ess_tail: effective draws, for the middle and for the tails.
      mc_error: Monte Carlo standard error of the mean.
    """

    effect: str
    group: str
    term: str
    estimate: float
    median: float
    std_error: float
    conf_low: float
    conf_high: float
    rhat: float
    ess_bulk: int
    ess_tail: int
    mc_error: float


def summarised(
    fit: FittedModel, level: float = 0.95, *, exponentiate: bool = False
) -> list[Summarised]:
    """Summarise the draws of each parameter.

    Args:
      fit: a fit with draws.
      level: the chance of what lies between the quantiles.
      exponentiate: of the fixed effects summarise the exponentials.
    """
    assert fit.draws is not None
    values, mixing = fit.draws.values, fit.draws.mixing
    if exponentiate:
        p = fit.model.space.num_fixed
        values = np.concatenate([np.exp(values[:, :, :p]), values[:, :, p:]], axis=2)
        mixing = _mixing(values, fit.draws)
    flat = values.reshape(-1, values.shape[2])
    chances = (0.5, 0.5 - level / 2, 0.5 + level / 2)
    median, low, high = np.quantile(flat, chances, axis=0)
    return [
        Summarised(
            one.effect,
            one.group,
            one.term,
            float(flat[:, j].mean()),
            float(median[j]),
            float(flat[:, j].std(ddof=1)),
            float(low[j]),
            float(high[j]),
            float(mixing.rhat[j]),
            _count(mixing.ess_bulk[j]),
            _count(mixing.ess_tail[j]),
            float(mixing.mcse[j]),
        )
        for j, one in enumerate(parameters(fit))
    ]


def _mixing(values: Floats, draws: Draws) -> Mixing:
    """Of numbers (c, m, d) that are made of draws: by chains, or where there are none by how many count."""
    if draws.surrogate is None:
        return mixing_of(values)
    sd = values.std(axis=(0, 1), ddof=1)
    return draws.mixing._replace(mcse=sd / np.sqrt(draws.mixing.ess_bulk))


def _count(effective: float) -> int:
    return int(effective) if np.isfinite(effective) else 0


def check_no_tests(ddf: str | None) -> None:
    """Refuse degrees of freedom, which are of tests.

    Raises:
      ModelError: that says so.
    """
    if ddf not in (None, "auto", "none"):
        raise ModelError(
            f"ddf is {ddf!r}, and draws from a posterior distribution have no tests with degrees of freedom",
            hint="Leave ddf out: intervals are quantiles of the draws.",
        )


def posterior_frame(
    fit: FittedModel, level: float = 0.95, *, exponentiate: bool = False
) -> pd.DataFrame:
    """The rows of `summarised` as a data frame."""
    rows = summarised(fit, level, exponentiate=exponentiate)
    return pd.DataFrame(rows, columns=list(Summarised._fields))


def posterior_table(fit: FittedModel, title: str, *effects: str) -> Table:
    """Tabulate the posterior distributions of some parameters.

    Args:
      fit: a fit with draws.
      title: of the table.
      effects: which ones: "fixed", "sd", "cor", ...
    """
    rows = [row for row in summarised(fit) if row.effect in effects]
    named: dict[str, tuple[str, Kind]] = {"term": ("", "text")}
    if any(row.group for row in rows):
        named = {"group": ("group", "text"), "effect": ("", "text"), "term": ("term", "text")}
    assert fit.draws is not None
    headings = dict(HEADINGS)
    if fit.draws.surrogate is not None:
        # Draws without chains.
        headings = {name: one for name, one in HEADINGS.items() if name not in OF_CHAINS}
    return Table(title, columns_of(rows, named | headings), (QUANTILES,) if rows else ())


def smallest(values: Floats) -> float:
    """The smallest of numbers some of which may be nan."""
    return float(np.nanmin(values)) if np.isfinite(values).any() else float("nan")
