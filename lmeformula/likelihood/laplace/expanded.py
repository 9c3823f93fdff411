"""The derivatives of rows as the coefficients of their log density's series, as stacked rows take them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.family import ClosedForm, Depths, Family, Scores, Slopes
from lmeformula.family.series import Series, Space, depths_space, scores_space, slopes_space
from lmeformula.model.stack import Mixture, mixture

# So many rows at a time have their coefficients in a processor's cache.
CHUNK = 8192


def expanded(
    family: Family, response: tuple[Floats, ...], stacking: Mixture | None = None
) -> ClosedForm:
    """Derivatives of a family that has a series.

    Args:
      family: the family.
      response: the response arrays.
      stacking: how stacked rows read the predictors; there is one by default.
    Returns:
      Functions of stacked predictors (v n,), as those of `automatic`; `third` is (v, K, n) for any K.
    """
    mixed = mixture(np.ones(1), len(response[0])) if stacking is None else stacking
    k, n, size = mixed.num_predictors, mixed.num_rows, len(mixed.readers)
    pairs = mixed.pairs

    def parts(space: Space, eta: Floats, own: Floats) -> Iterator[tuple[slice, Series]]:
        assert family.series is not None
        predictors = eta[: k * n].reshape(k, n)
        others = [space.variable(k + place, value) for place, value in enumerate(own)]
        for start in range(0, n, CHUNK):
            rows = slice(start, start + CHUNK)
            variables = [space.variable(a, each[rows]) for a, each in enumerate(predictors)]
            some = tuple(array[rows] if np.ndim(array) else array for array in response)
            yield rows, family.series(family.as_taken(variables, 0), some, others)

    def slopes(eta: Floats, _: tuple[Floats, ...], own: Floats) -> Slopes:
        values, firsts, seconds = np.empty(n), np.zeros((size, n)), np.empty((size, n))
        for rows, found in parts(slopes_space(k), eta, own):
            values[rows] = found.value
            for a in range(k):
                firsts[a, rows] = found.derivative((a,))
            for place, pair in enumerate(pairs):
                seconds[place, rows] = found.derivative(pair)
        return Slopes(values, firsts.reshape(-1), _mixed(mixed, seconds))

    def scores(eta: Floats, _: tuple[Floats, ...], own: Floats) -> Scores:
        values, firsts, in_own = np.empty(n), np.empty((k, n)), np.empty((len(own), n))
        for rows, found in parts(scores_space(k), eta, own):
            values[rows] = found.value
            for a in range(k):
                firsts[a, rows] = found.derivative((a,))
            for s in range(len(own)):
                in_own[s, rows] = found.derivative((k + s,))
        return Scores(values, firsts.reshape(-1), in_own)

    def depths(eta: Floats, _: tuple[Floats, ...], own: Floats) -> Depths:
        f = len(own)
        thirds, in_own, squares = np.empty((size, k, n)), np.empty((f, n)), np.zeros((f, f))
        firsts, seconds = np.zeros((f, size, n)), np.empty((f, size, n))
        for rows, found in parts(depths_space(k), eta, own):
            for place, (a, b) in enumerate(pairs):
                for c in range(k):
                    thirds[place, c, rows] = found.derivative(tuple(sorted((a, b, c))))
                for s in range(f):
                    seconds[s, place, rows] = found.derivative((a, b, k + s))
            for s in range(f):
                in_own[s, rows] = found.derivative((k + s,))
                for a in range(k):
                    firsts[s, a, rows] = found.derivative((a, k + s))
                for t in range(s, f):
                    each = found.derivative((k + s, k + t))
                    total = np.broadcast_to(each, in_own[s, rows].shape).sum()
                    squares[s, t] += total
                    squares[t, s] += total if t > s else 0.0
        return Depths(
            _mixed(mixed, thirds.reshape(size, -1)).reshape(size, k, n),
            in_own,
            squares,
            firsts.reshape(f, size * n),
            np.stack([_mixed(mixed, each) for each in seconds]) if f else np.zeros((0, size * n)),
        )

    return ClosedForm(slopes, depths, scores)


def _mixed(mixed: Mixture, each: Floats) -> Floats:
    """Stacked weights from the elements of W, or of what it changes by, (v, ...) of pairs of predictors."""
    return each.reshape(-1) if len(each) == 1 else np.asarray((mixed.weights @ each).reshape(-1))
