"""What rows say of directions of the fixed effects, where an ascent ended and where nothing is predicted.

Rows may be with workers: what is curved there is summed there.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.orthogonal import orthogonal, triangle
from lmeformula.algebra.shared import added
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import Design
from lmeformula.likelihood.laplace.fit import LaplaceFit
from lmeformula.likelihood.laplace.shared_rows import of_parts
from lmeformula.model.compile import Model
from lmeformula.model.stack import Mixture
from lmeformula.rows.parts import Part

# Rows say no more than this: one that says very much drowns what others do not say.
MOST_WEIGHT = 1.0


class Ended(NamedTuple):
    """Where an ascent ended.

    Attributes:
      value: the log-likelihood.
      beta: (p,) fixed effects.
      own: (v,) natural own parameters.
      weights: (v n,) the stacked rows' curvatures in the predictors.
      at_zero: (v n,) the same where all predictors are zero, or amid the thresholds.
      of: the fit, whose rows may be with workers; they know the last two then.
    """

    value: float
    beta: Floats
    own: Floats
    weights: Floats
    at_zero: Floats
    of: LaplaceFit | None = None


class Curves(NamedTuple):
    """What rows say of directions of p columns, which R takes to coefficients of orthogonal ones.

    Attributes:
      R: (p, p).
      here: (p, p) curvature in the orthogonal columns where the ascent ended.
      before: (p, p) the same where all predictors are zero.
      squares: (p,) sums of squares of the columns.
      num_rows: of the rows.
    """

    R: Floats
    here: Floats
    before: Floats
    squares: Floats
    num_rows: int


def curves(model: Model, ended: Ended, group: list[int], has_ones: bool) -> Curves:
    """Of the columns of some predictors, and a column of ones beside them.

    Rows without trials are flat everywhere: they predict nothing perfectly.
    """
    design = model.design
    if design.shards is None:
        mixture, times = model.stack.mixture, design.frequencies
        here, before = (blocks(each, mixture, times) for each in (ended.weights, ended.at_zero))
        X, places = columns(design, group, has_ones)
        X = X * np.sqrt(times)[:, None]
        owns = _owns(places)
        Q, R = np.zeros_like(X), np.zeros((X.shape[1],) * 2)
        for own in owns:
            Q[:, own], R[np.ix_(own, own)] = orthogonal(X[:, own])
        return _curved(X, Q, R, owns, among(here, group), among(before, group))
    assert ended.of is not None
    parts = of_parts(ended.of.problem, ended.of.approximation.mode)
    corners = parts.ask(_corners, group, has_ones)
    owns = _owns(_columns_of(design, group, has_ones)[0])
    R = np.zeros((len(owns[0]),) * 2)
    for number, own in enumerate(owns):
        R[np.ix_(own, own)] = triangle(np.concatenate([each[number] for each in corners]))
    found = parts.ask(_curved_there, group, has_ones, R, *zero(model, ended.own))
    here, before, squares = (added(each) for each in zip(*(one[1:4] for one in found), strict=True))
    return Curves(R, here, before, squares, sum(one.num_rows for one in found))


def _columns_of(design: Design, group: list[int], has_ones: bool) -> tuple[Ints, Mask]:
    """Which of g predictors each column is of, that of ones as well; and which fixed columns these are."""
    places = np.array(design.column_predictors, int)
    chosen = np.isin(places, group)
    within = places[chosen] - group[0]
    return (np.append(within, 0) if has_ones else within), chosen


def columns(design: Design, group: list[int], has_ones: bool) -> tuple[Floats, Ints]:
    """(n, p) columns, and which of g predictors each is of."""
    places, chosen = _columns_of(design, group, has_ones)
    X = design.X[:, chosen]
    return (np.column_stack([X, np.ones(len(X))]) if has_ones else X), places


def _owns(places: Ints) -> list[Mask]:
    """(p,) of each predictor, which columns are its own."""
    return [places == place for place in range(int(places.max(initial=0)) + 1)]


def _corners(part: Part, group: list[int], has_ones: bool) -> list[Floats]:
    X, places = columns(part.rows, group, has_ones)
    X = X * np.sqrt(part.rows.frequencies)[:, None]
    return [triangle(X[:, own]) for own in _owns(places)]


def _curved_there(
    part: Part, group: list[int], has_ones: bool, R: Floats, middle: float, free: Floats
) -> Curves:
    mixture, times = part.held["stack"].mixture, part.rows.frequencies
    X, places = columns(part.rows, group, has_ones)
    X = X * np.sqrt(times)[:, None]
    Q = np.linalg.solve(R.T, X.T).T
    at_zero = at_zero_there(part, middle, free)
    here, before = (blocks(each, mixture, times) for each in (part.held["weights"], at_zero))
    return _curved(X, Q, R, _owns(places), among(here, group), among(before, group))


def _curved(
    X: Floats, Q: Floats, R: Floats, owns: list[Mask], weights: Floats, at_zero: Floats
) -> Curves:
    """Of columns X = Q R, and curvatures (n, g, g) in the predictors of one observation of each row."""
    p = X.shape[1]

    def curvature(rows: Floats) -> Floats:
        most = np.abs(np.einsum("nkk->nk", rows)).max(axis=1)
        capped = rows / np.maximum(most, MOST_WEIGHT)[:, None, None]
        total = np.zeros((p, p))
        # By pairs of predictors: no array has more numbers than X.
        for (k, one), (m, other) in itertools.product(enumerate(owns), repeat=2):
            total[np.ix_(one, other)] = Q[:, one].T @ (capped[:, k, m, None] * Q[:, other])
        return total

    return Curves(R, curvature(weights), curvature(at_zero), (X**2).sum(axis=0), len(X))


def blocks(weights: Floats, mixture: Mixture, times: Floats) -> Floats:
    """(n, K, K) curvatures in the predictors of one observation of each row, from those of the stacked rows."""
    return mixture.to_blocks(weights) / times[:, None, None]


def among(blocks: Floats, group: list[int]) -> Floats:
    """(n, g, g) those in some of the predictors."""
    found = blocks[:, group][:, :, group]
    return np.asarray(np.abs(found) if len(group) == 1 else found)


def zero(model: Model, own: Floats) -> tuple[float, Floats]:
    """Where predictors are at zero, or amid the thresholds, and the unconstrained own parameters."""
    middle = float(np.mean(own)) if model.family.thresholds else 0.0
    return middle, model.space.own.scale.to_free(own)


def at_zero_there(part: Part, middle: float, free: Floats) -> Floats:
    """(v n,) the stacked rows' curvatures where predictors are at zero; see `zero`."""
    eta = np.zeros_like(part.held["stack"].offset)
    eta[: part.rows.n] = middle
    return np.asarray(-part.held["rows"].slopes(eta, free).second)
