"""A model with columns that are far from their origin, written in orthogonal columns of the same span.

With a year as a slope, intercepts are those of the year nought: they undo the slopes, all correlations run to
one, and steps in them are nowhere near what a step does. In orthogonal columns, each of which is what the ones
before it leave, the same model is that of the year about its mean. An unstructured covariance of the old
columns' effects is one of the new ones', and two variances with a correlation are any, by whatever name;
other structures hold in their own columns only, and keep them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from lmeformula.algebra.orthogonal import triangle
from lmeformula.arrays import Floats
from lmeformula.checkpoint.trees import digest
from lmeformula.covariance.structure import below_diagonal
from lmeformula.covariance.table import STRUCTURES
from lmeformula.design.absent import has_rows
from lmeformula.design.design import Design
from lmeformula.design.shards import triangle_of
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, ParamSpace, TermShape
from lmeformula.rows.parts import Part, within

# Columns that keep less than this share of their squares beside those before them are far from their origin;
# what those keep that keep less than the second one is not known.
FAR, COPIES = 1e-2, 1e-14


class Turn(NamedTuple):
    """The way from coefficients of the new columns to those of the old ones.

    Attributes:
      fixed: (p, p) upper triangular: the fixed effects are these times the new ones.
      center: (p,) what was taken off each fixed column, where thresholds make up for it; else zero.
      terms: (k, k) of each term, likewise for its effects.
    """

    fixed: Floats
    center: Floats
    terms: tuple[Floats, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TurnedSpace(ParamSpace):
    """Parameters of a model in new columns, which are reported as those of the old ones.

    Attributes:
      turn: the way back.
      of_terms: the terms' parameters as the model names them.
      resting: (d,) where parameters on their bounds are, such as -inf, and nan for the others; None for none.
        What stands for a zero of the new columns is far from one in the old ones.
    """

    turn: Turn = Turn(np.zeros((0, 0)), np.zeros(0), ())  # noqa: RUF009
    of_terms: tuple[str, ...] = ()
    resting: Floats | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names on the reporting scale, those of the model."""
        return (*self.fixed_names, *self.of_terms, *self.own.names)

    def to_report(self, psi: Floats) -> Floats:
        """Estimates (d,) on the reporting scale of the old columns."""
        found = ParamSpace.to_report(self, psi)
        p, beta = self.num_fixed, self.turn.fixed @ psi[: self.num_fixed]
        found[:p] = beta
        for term, place, back in zip(self.terms, self.theta_slices, self.turn.terms, strict=True):
            if _is_turned(back):
                sds, units = _rows(term, self._rested(psi)[place], back)
                pairs = below_diagonal(len(sds))
                several = [*sds, *(units[i] @ units[j] for i, j in pairs)]
                found[place.start : place.start + len(several)] = several
        if self.turn.center.any():
            found[self.own_slice] += self._in_location() * (self.turn.center @ beta)
        return found

    def report_jacobian(self, psi: Floats) -> Floats:
        """(d, d) derivative of `to_report`."""
        found = ParamSpace.report_jacobian(self, psi)
        p = self.num_fixed
        found[:p, :p] = self.turn.fixed
        for term, place, back in zip(self.terms, self.theta_slices, self.turn.terms, strict=True):
            if _is_turned(back):
                own = _report_jacobian(term, self._rested(psi)[place], back)
                found[place.start : place.start + len(own), place] = own
        if self.turn.center.any():
            moved = self.turn.center @ self.turn.fixed
            found[self.own_slice, :p] = np.outer(self._in_location(), moved)
        if self.resting is not None:
            found[:, ~np.isnan(self.resting)] = 0.0
        return found

    def _rested(self, psi: Floats) -> Floats:
        """(d,) parameters with those on their bounds there."""
        return psi if self.resting is None else np.where(np.isnan(self.resting), psi, self.resting)

    def _in_location(self) -> Floats:
        """(f,) what is reported of thresholds of which each is one more, less what was reported before."""
        own = self.own
        ones = np.ones(len(own.start))
        return ones if own.report is None else own.report @ ones

    def natural(self, params: Params) -> Params:
        """Parameters of the old columns from those of the new ones."""
        beta = self.turn.fixed @ params.beta
        covariances = tuple(
            back @ each @ back.T if _is_turned(back) else each
            for each, back in zip(params.covariances, self.turn.terms, strict=True)
        )
        own = params.own
        if self.turn.center.any():
            own = own + self.turn.center @ beta
        return params._replace(beta=beta, covariances=covariances, own=own)


def orthogonal_model(model: Model) -> Model | None:
    """The same model in orthogonal columns, wherever some are far from their origin.

    Args:
      model: the model.
    Returns:
      A model whose space is a `TurnedSpace`; None where no columns are far.
    """
    design = model.design
    fixed, center = _of_fixed(model)
    terms = tuple(_of_term(design, j, term) for j, term in enumerate(model.space.terms))
    if not (_is_turned(fixed) or center.any() or any(map(_is_turned, terms))):
        return None
    turn, space = Turn(fixed, center, terms), model.space
    shapes = tuple(
        _in_new_columns(term) if _is_turned(back) else term
        for term, back in zip(space.terms, terms, strict=True)
    )
    return replace(
        model,
        design=_turned(design, turn),
        space=TurnedSpace(
            fixed_names=space.fixed_names,
            terms=shapes,
            own=space.own,
            turn=turn,
            of_terms=space.names[space.num_fixed : space.own_slice.start],
        ),
        estimates=None,
    )


def terms_kept_far(model: Model) -> tuple[str, ...]:
    """Names of terms with columns far from their origin that hold in these columns only, and so keep them."""
    found = []
    design = model.design
    for place, term in enumerate(model.space.terms):
        block, values = design.terms[place], _alike(design, place)
        groups = _groups(block.predictors)
        is_far = any(_inverse_root(values[:, own], design.n) is not None for _, own in groups)
        if is_far and not _is_turned(_of_term(design, place, term)):
            found.append(block.name)
    return tuple(found)


def at_rest(model: Model, psi: Floats, limit: Floats) -> Model:
    """The model, to report parameters that are held on their bounds as there, whatever stands in for them.

    Args:
      model: the model, in whatever columns.
      psi: (d,) the estimates with finite stand-ins.
      limit: (d,) the same on the bounds.
    """
    space = model.space
    if not isinstance(space, TurnedSpace) or (psi == limit).all():
        return model
    return replace(model, space=replace(space, resting=np.where(psi == limit, np.nan, limit)))


def _of_fixed(model: Model) -> tuple[Floats, Floats]:
    """The way back (p, p) of the fixed effects, and what is taken off their columns (p,)."""
    design, family = model.design, model.family
    n, p = design.X.shape
    back, center = np.eye(p), np.zeros(p)
    for number, columns in _groups(model.design.column_predictors):
        # Thresholds stand for a constant that the columns do not have.
        has_thresholds = number == 0 and not family.has_intercept
        if has_thresholds and model.space.own.variable == "thresholds":
            own = _fixed_alike(design, columns, has_ones=True)
            whole = _inverse_root(own, n)
            if whole is not None:
                center[columns] = _means(own, n)
                back[np.ix_(columns, columns)] = whole[1:, 1:]
            continue
        found = _inverse_root(_fixed_alike(design, columns), n)
        if found is not None:
            back[np.ix_(columns, columns)] = found
    return back, center


def _fixed_alike(design: Design, columns: list[int], *, has_ones: bool = False) -> Floats:
    """Fixed columns, after one of ones, or R of them: whatever has their products."""
    if design.shards is None:
        return _with_ones(design.X[:, columns], has_ones)
    corners = design.shards.parts.ask(_corner, columns, has_ones)
    return triangle(np.concatenate(corners))


def _means(columns: Floats, n: int) -> Floats:
    """Of columns after one of ones, or of R of them."""
    if len(columns) == n:
        return np.asarray(columns[:, 1:].mean(axis=0))
    return np.asarray(columns[:, 0] @ columns[:, 1:] / n)


def _corner(part: Part, columns: list[int], has_ones: bool) -> Floats:
    return triangle(_with_ones(part.rows.X[:, columns], has_ones))


def _with_ones(X: Floats, has_ones: bool) -> Floats:
    return np.column_stack([np.ones(len(X)), X]) if has_ones else X


def _alike(design: Design, term: int) -> Floats:
    """A term's columns, or R of them."""
    return design.terms[term].values if design.shards is None else triangle_of(design, term)


def _of_term(design: Design, place: int, term: TermShape) -> Floats:
    """The way back (k, k) of a term's effects."""
    block = design.terms[place]
    k = len(block.columns)
    back = np.eye(k)
    # Any two variances and a correlation are unstructured.
    is_any = k == 2 and term.structure.num_params(k) == 3
    if k < 2 or not (term.structure.correlations == "each" or is_any):
        return back
    values = _alike(design, place)
    for _, columns in _groups(block.predictors):
        found = _inverse_root(values[:, columns], design.n)
        if found is not None:
            back[np.ix_(columns, columns)] = found
    return back


def _in_new_columns(term: TermShape) -> TermShape:
    """A term whose covariance is any, whatever it is called."""
    if term.structure.correlations == "each":
        return term
    return term._replace(structure=STRUCTURES[("us", False)])


def _groups(predictors: Sequence[int]) -> list[tuple[int, list[int]]]:
    """The columns of each linear predictor that has some; of those of several there are no sums."""
    return [
        (number, [place for place, other in enumerate(predictors) if other == number])
        for number in sorted(set(predictors))
    ]


def _inverse_root(columns: Floats, n: int) -> Floats | None:
    """(k, k) B: the columns (n, k) times B are orthogonal, with a mean square of one.

    Args:
      columns: these, or others with the same products.
      n: how many rows there are.
    Returns:
      Upper triangular, so that the first column keeps its direction and the effect of the last its meaning;
      None where none is far from the others, or where it is not known how far.
    """
    k = columns.shape[1]
    if k < 2 or n < k:
        return None
    # Numbers that cannot be squared are no columns to turn.
    with np.errstate(over="ignore"):
        size = np.sqrt((columns**2).sum(axis=0) / n)
    if not (np.isfinite(size).all() and size.all()):
        return None
    root = triangle(columns / size) / np.sqrt(n)
    kept = np.diag(root) ** 2
    if kept.min() >= FAR or kept.min() < COPIES:
        return None
    root = root * np.sign(np.diag(root))[:, None] * size
    return np.asarray(sl.solve_triangular(root, np.eye(k)))


def _turned(design: Design, turn: Turn) -> Design:
    shards, is_here = design.shards, has_rows(design)
    if shards is not None:
        shards = within(shards, f"turned {digest(turn)}", _turned, turn)
    X = (design.X - turn.center) @ turn.fixed if is_here else design.X
    # The designs of predictors side by side hold the same columns once more, each its own.
    of = np.array(design.column_predictors, int)
    predictors = tuple(
        replace(each, design=replace(each.design, X=X[:, np.flatnonzero(of == k)], recipe=None))
        if is_here
        else each
        for k, each in enumerate(design.side_by_side)
    )
    terms = tuple(
        replace(
            block,
            values=np.ascontiguousarray(block.values @ back) if is_here else block.values,
            covariance="us",
        )
        if _is_turned(back)
        else block
        for block, back in zip(design.terms, turn.terms, strict=True)
    )
    return replace(
        design,
        X=np.ascontiguousarray(X) if is_here else X,
        terms=terms,
        side_by_side=predictors,
        recipe=None,
        shards=shards,
    )


def _is_turned(back: Floats) -> bool:
    return bool((back != np.eye(len(back))).any())


def _rows(term: TermShape, theta: Floats, back: Floats) -> tuple[Floats, Floats]:
    """Standard deviations (k,) of the old columns' effects, and the rows (k, k) of a factor over them."""
    factor = back @ term.structure.cholesky(theta, len(back))
    sds = np.linalg.norm(factor, axis=1)
    return sds, factor / np.where(sds > 0.0, sds, 1.0)[:, None]


def _report_jacobian(term: TermShape, theta: Floats, back: Floats) -> Floats:
    """(r, t) derivative of standard deviations and correlations in theta (t,)."""
    sds, units = _rows(term, theta, back)
    changes = back @ term.structure.cholesky_jacobian(theta, len(back))
    relative = changes / np.where(sds > 0.0, sds, 1.0)[:, None]
    found = [sds[i] * (relative[:, i] @ units[i]) for i in range(len(sds))]
    for i, j in below_diagonal(len(sds)):
        cor = units[i] @ units[j]
        # What one has that the other has not: of correlations near one the digits that are left.
        found.append(
            relative[:, i] @ (units[j] - cor * units[i])
            + relative[:, j] @ (units[i] - cor * units[j])
        )
    return np.array(found)
