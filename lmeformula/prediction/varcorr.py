"""The random effects' standard deviations and correlations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from lmeformula.arrays import Floats
from lmeformula.covariance.structure import Correlations
from lmeformula.covariance.table import structure_of
from lmeformula.fit import FittedModel
from lmeformula.text.render import to_html, to_text
from lmeformula.text.table import Cell, Column, Table


@dataclass(frozen=True, slots=True, eq=False)
class TermCovariance:
    """The covariance of one random-effects term, as standard deviations and correlations.

    Attributes:
      group: display name of the term's grouping factor.
      columns: (k) names of its coefficients.
      sd: (k,) standard deviations, on the scale of the linear predictor.
      corr: (k, k) correlations; NaN off the diagonal where a standard deviation is zero.
      repeats: "one" where all correlations are one, "lags" where each number of steps has one, "each" where
        each pair has, or "factors" where loadings on a few give them; "none" where there are none, and "known"
        where they are.
      is_even: whether all coefficients have one standard deviation.
      df: degrees of freedom where the coefficients have a t distribution, whose scales `sd` then are: standard
        deviations are larger by the root of df / (df - 2); None where they are Gaussian.
    """

    group: str
    columns: tuple[str, ...]
    sd: Floats
    corr: Floats
    repeats: Correlations = "each"
    is_even: bool = False
    df: float | None = None

    @property
    def correlated(self) -> bool:
        """Whether the model has correlations; False where they are zero by choice."""
        return self.repeats != "none"

    @property
    def shown(self) -> int:
        """How many coefficients a table has rows of: one where the others have the same numbers."""
        k = len(self.columns)
        return 1 if self.is_even and k > 2 and self.repeats in ("none", "one") else k

    @property
    def own_correlations(self) -> tuple[tuple[int, int], ...]:
        """Places (i, j), j < i, of the correlations that are parameters, each once."""
        pairs = [(i, j) for i in range(len(self.columns)) for j in range(i)]
        of_first = [(i, 0) for i in range(1, len(self.columns))]
        found = {"one": pairs[:1], "two": pairs[:1], "lags": of_first}
        found |= dict.fromkeys(("each", "factors"), pairs)
        return tuple(found.get(self.repeats, []))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class VarCorr:
    """Variance components of a fit; prints as lme4's `VarCorr` does.

    Attributes:
      terms: one record for each random-effects term, in formula order.
      sigma: residual standard deviation, or None where the family has none.
    """

    terms: tuple[TermCovariance, ...]
    sigma: float | None

    def to_frame(self) -> pd.DataFrame:
        """Lay the components out as a data frame.

        Returns:
          frame: columns group, term, term2, sd, corr. A standard deviation's row has no term2 and a
            NaN correlation; a correlation's row names both terms and has a NaN sd, and there is one
            for each pair; of structures with fewer correlations, each of these once. The
            residual is the last row, group "Residual". Where some coefficients have a t distribution there
            is a column df too.
        """
        rows: list[tuple[str, str | None, str | None, float, float]] = []
        for term in self.terms:
            for column, sd in zip(term.columns, term.sd, strict=True):
                rows.append((term.group, column, None, float(sd), np.nan))
            for i, j in term.own_correlations:
                pair = (term.columns[j], term.columns[i])
                rows.append((term.group, *pair, np.nan, float(term.corr[i, j])))
        if self.sigma is not None:
            rows.append(("Residual", None, None, self.sigma, np.nan))
        frame = pd.DataFrame(rows, columns=["group", "term", "term2", "sd", "corr"])
        if self.has_df:
            counts = [len(term.columns) + len(term.own_correlations) for term in self.terms]
            freedom = [np.nan if term.df is None else term.df for term in self.terms]
            frame["df"] = np.append(
                np.repeat(freedom, counts), [np.nan] * (len(frame) - sum(counts))
            )
        return frame

    @property
    def has_df(self) -> bool:
        """Whether some coefficients have a t distribution."""
        return any(term.df is not None for term in self.terms)

    def to_table(self) -> Table:
        """Lay the components out as lme4 prints them.

        Returns:
          table: one row a random coefficient, with its correlations to the earlier ones of its
            term (of structures with fewer correlations, each of these once; of coefficients with one
            standard deviation and at most one correlation a row for all), and a last row for the residual
            where the family has one.
        """
        widest = 1 + max((j + 1 for t in self.terms for _, j in t.own_correlations), default=0)
        rows: list[list[Cell]] = []
        for term in self.terms:
            if term.shown < len(term.columns):
                named = f"{term.columns[0]} to {term.columns[-1]}"
                only = [float(term.corr[i, j]) for i, j in term.own_correlations]
                rows.append([term.group, named, float(term.sd[0]), *only])
                continue
            for i, column in enumerate(term.columns):
                corr = [float(term.corr[i, j]) for a, j in term.own_correlations if a == i]
                rows.append([term.group if i == 0 else None, column, float(term.sd[i]), *corr])
        if self.sigma is not None:
            rows.append(["Residual", None, self.sigma])
        cells = [tuple(row[j] if j < len(row) else None for row in rows) for j in range(widest + 2)]
        correlations = [
            Column("corr" if j == 0 else "", column, "statistic")
            for j, column in enumerate(cells[3:])
        ]
        labels = (Column("group", cells[0], "text"), Column("term", cells[1], "text"))
        spread = Column("scale" if self.has_df else "sd", cells[2])
        return Table("Random effects", (*labels, spread, *correlations, *self._freedom(rows)))

    def _freedom(self, rows: list[list[Cell]]) -> tuple[Column, ...]:
        """A column of degrees of freedom, in the first row of each term that has some."""
        if not self.has_df:
            return ()
        cells: list[Cell] = []
        for term in self.terms:
            cells += [term.df] + [None] * (term.shown - 1)
        return (Column("df", tuple(cells + [None] * (len(rows) - len(cells))), "statistic"),)

    def __repr__(self) -> str:
        return to_text(self.to_table())

    def _repr_html_(self) -> str:
        return to_html(self.to_table())


def varcorr(fit: FittedModel) -> VarCorr:
    """Read the variance components off a fit.

    Args:
      fit: a fitted model.
    Returns:
      components: standard deviations and correlations of each term, and the residual sd.
    """
    terms: list[TermCovariance] = []
    for block, prior in zip(fit.model.design.terms, fit.params.distributions, strict=True):
        sd = np.sqrt(np.diag(prior.scale))
        with np.errstate(divide="ignore", invalid="ignore"):
            corr = prior.scale / np.outer(sd, sd)
        np.fill_diagonal(corr, 1.0)
        kind = structure_of(block).correlations
        df = prior.df if block.prior.has_df else None
        columns = block.columns
        if block.smooth and block.homogeneous:
            # Of all coefficients of a curve there is one.
            own = len(columns) // block.parts
            names = structure_of(block).labels(columns)
            columns = tuple(label or f"{own} coefficients" for _, label in names)
            sd, corr = sd[::own], corr[::own, ::own]
        is_even = block.homogeneous and not block.smooth
        terms.append(TermCovariance(block.group, columns, sd, corr, kind, is_even, df))
    return VarCorr(tuple(terms), fit.sigma)
