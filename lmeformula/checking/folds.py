"""Which rows a cross-validation holds out together, and whether the others can be fitted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Ints
from lmeformula.design.design import Design
from lmeformula.errors import ModelError
from lmeformula.fit import FittedModel
from lmeformula.prediction.predictor import category_names

# Below this eigenvalue of the share of X'X that rows keep, they do not determine the coefficients.
SMALLEST_SHARE = 1e-10


class Folds(NamedTuple):
    """A partition of the rows.

    Attributes:
      of_row: (n,) the fold of each row.
      names: (K,) of the folds.
      units: (n,) what was put into folds: the row itself, or its level of a grouping factor.
      by: the grouping factor, or "".
    """

    of_row: Ints
    names: tuple[str, ...]
    units: Ints
    by: str

    @property
    def number(self) -> int:
        """How many folds there are."""
        return len(self.names)


@kinds.takes(by=kinds.optional(kinds.text), seed=kinds.seed)
def make_folds(fit: FittedModel, folds: Any = None, by: str | None = None, seed: int = 0) -> Folds:
    """Divide the rows of a fit.

    Args:
      fit: a fitted model with its rows.
      folds: how many, into which rows, or levels of `by`, are dealt at random; by default 10 of rows, and
        of levels one for each; or a label for each row that the fit used, or for each row of its data: rows
        with one label are held out together. Rows with a frequency are as many observations, which are
        dealt one by one.
      by: a grouping factor of the model whose levels stay together.
      seed: of the random choice.
    Raises:
      ModelError: for another number of labels than rows, fewer than two folds or more than there is to
        divide, or a grouping factor that the model does not have.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> make_folds(fit, 3, seed=1).of_row.tolist().count(0)
      10
      >>> make_folds(fit, by="Batch").names
      ('A', 'B', 'C', 'D', 'E', 'F')
    """
    design, n = fit.by_observation.model.design, fit.nobs
    if by is None:
        units, names = np.arange(n), tuple[str, ...]()
    else:
        units, names = _levels(design, by)
    if isinstance(folds, str):
        raise ModelError(
            f"folds is {folds!r}",
            hint=f"To leave out levels of a grouping factor write by={folds!r}.",
        )
    if folds is not None and not isinstance(folds, int | np.integer):
        if by is not None:
            raise ModelError("folds are given by labels and by a grouping factor", hint="Give one.")
        index, labels = _labelled(fit.model.design, folds)
        if fit.model.design.frequency is not None:
            index = np.repeat(index, fit.model.design.frequency.astype(np.int64))
        return Folds(index, labels, index, "")
    if folds is None and by is not None:
        return Folds(units, names, units, by)
    count = 10 if folds is None else int(folds)
    sizes = np.bincount(units)
    if isinstance(folds, bool) or not 2 <= count <= len(sizes):
        what = "rows" if by is None else f"levels of {by}"
        raise ModelError(
            f"folds is {kinds.shown(folds)}",
            hint=f"Give a number between 2 and {len(sizes):,}, the {what}.",
        )
    order = np.random.default_rng(seed).permutation(len(sizes))
    fold_of = np.empty(len(sizes), np.int64)
    if by is None:
        fold_of[order] = np.arange(n) % count
    else:
        # Large levels first, each to the fold with the fewest rows: the folds come out alike.
        filled = np.zeros(count)
        for unit in order[np.argsort(-sizes[order], kind="stable")]:
            place = int(np.argmin(filled))
            fold_of[unit] = place
            filled[place] += sizes[unit]
    return Folds(fold_of[units], tuple(str(k + 1) for k in range(count)), units, by or "")


def check_folds(fit: FittedModel, folds: Folds) -> None:
    """Refuse folds without whose rows the model could not be fitted, before any of them is.

    Raises:
      ModelError: names the fold and what its absence leaves undetermined.
    """
    design, family = fit.model.design, fit.model.family
    # Columns of several predictors are alike without determining one another.
    bases = [np.linalg.qr(part.design.X)[0] for part in design.predictors]
    num_fixed = design.X.shape[1]
    codes = None
    if family.categories is not None:
        codes = family.response(design)[0].astype(np.int64)
    for number, name in enumerate(folds.names):
        held = folds.of_row == number
        where = f"without fold {name!r}"
        for Q in bases:
            if not Q.shape[1]:
                continue
            share = np.linalg.eigvalsh(np.eye(Q.shape[1]) - Q[held].T @ Q[held])
            if held.sum() + num_fixed >= design.n or share[0] < SMALLEST_SHARE:
                raise ModelError(
                    f"{where} the other rows do not determine the fixed effects",
                    hint="A category that only its rows have, or too few rows: take other folds, or make a "
                    "grouping factor of what it is.",
                )
        for term in design.terms:
            if term.role == "population":
                continue
            if len(np.unique(term.index[~held])) < 2:
                raise ModelError(
                    f"{where} there are fewer than two levels of {term.group}",
                    hint="Take folds of rows, or of the levels of another factor.",
                )
        if codes is not None:
            absent = np.setdiff1d(codes, codes[~held])
            if absent.size:
                raise ModelError(
                    f"{where} no row has the category {category_names(fit)[absent[0]]!r}",
                    hint="A category without rows has no threshold: take fewer folds, or merge categories.",
                )


def _levels(design: Design, by: str) -> tuple[Ints, tuple[str, ...]]:
    for term in design.terms:
        if term.group == by and term.shares is not None:
            raise ModelError(
                f"rows have several levels of {by}, which are not left out one at a time",
                hint="Give labels of the rows, folds=data[...], or a number of folds.",
            )
        if term.group == by:
            return term.index.astype(np.int64), term.levels
    known = ", ".join(dict.fromkeys(term.group for term in design.terms))
    raise ModelError(
        f"the model has no grouping factor {by!r}",
        hint=f"It has {known}. Other divisions are given as labels of the rows: folds=data[{by!r}].",
    )


def _labelled(design: Design, labels: Any) -> tuple[Ints, tuple[str, ...]]:
    total = design.n + design.num_missing
    try:
        given = np.asarray(labels)
    except ValueError:  # lists of several lengths
        given = np.empty((0, 0))
    if given.dtype.names or given.ndim != 1 or len(given) not in (design.n, total):
        rows = f"{design.n:,}" + (f" or {total:,}" if design.num_missing else "")
        raise ModelError(
            f"folds is {kinds.shown(labels)}",
            hint=f"Give a number of folds, or a label for each of the {rows} rows.",
        )
    if len(given) != design.n:
        given = given[design.rows]
    names, index = np.unique(given.astype(str), return_inverse=True)
    if len(names) < 2:
        raise ModelError("all rows have one label", hint="Two folds are the fewest.")
    return index.astype(np.int64), tuple(map(str, names))
