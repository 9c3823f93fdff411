"""The rows of a model with several linear predictors, stacked so that weights are diagonal again.

With K predictors the log density of a row has a K by K matrix W of negative second derivatives, and Z'WZ sums
over pairs of predictors. By polarisation, with r_ab = s_a e_a + s_b e_b for any s,

    W = sum_a (W_aa - sum_b W_ab s_a / s_b) e_a e_a' + sum_{a<b} W_ab / (s_a s_b) r_ab r_ab',

it is diagonal over K + K (K - 1) / 2 rows for each row of the data: one for each predictor, and one for each
pair, which reads what both predictors read. On such rows all that is written for one predictor holds as it is:
cross products, factorization, conjugate gradients, leverages, Newton steps, draws. A model with one predictor
is its own stack. The s_a measure the predictors in their units, so that no digits are lost where these are far
apart.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.orthogonal import orthogonal, triangle
from lmeformula.arrays import Floats
from lmeformula.design.design import Design, TermBlock


class Mixture(NamedTuple):
    """How the stacked rows read the K predictors; v = K (K + 1) / 2.

    Attributes:
      readers: (v, K) what each stacked row reads of each predictor: rows of predictors, then those of pairs.
      weights: (v, v) stacked weights from the elements of W: its diagonal, then those of the pairs.
      num_rows: n.
    """

    readers: Floats
    weights: Floats
    num_rows: int

    @property
    def num_predictors(self) -> int:
        """K."""
        return int(self.readers.shape[1])

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The predictors of each element of W, as `weights` takes them."""
        k = self.num_predictors
        return (*((a, a) for a in range(k)), *itertools.combinations(range(k), 2))

    def to_blocks(self, weights: Floats) -> Floats:
        """(n, K, K) W from stacked weights (v n,)."""
        each = np.linalg.solve(self.weights, weights.reshape(len(self.readers), -1))
        k = self.num_predictors
        blocks = np.empty((each.shape[1], k, k))
        for (a, b), element in zip(self.pairs, each, strict=True):
            blocks[:, a, b] = blocks[:, b, a] = element
        return blocks

    def to_weights(self, blocks: Floats) -> Floats:
        """(v n,) stacked weights from W (n, K, K)."""
        each = np.array([blocks[:, a, b] for a, b in self.pairs])
        return np.asarray((self.weights @ each).reshape(-1))

    def held(self, weights: Floats) -> Floats:
        """Stacked weights whose W have their negative eigenvalues cut off, in units of the predictors."""
        k = self.num_predictors
        if k == 1:
            return np.maximum(weights, 0.0)
        # The rows of pairs read one over the unit of both.
        scale = np.ones(k)
        for row, (a, b) in zip(self.readers[k:], self.pairs[k:], strict=True):
            scale[[a, b]] = 1.0 / row[[a, b]]
        both = np.outer(scale, scale)
        values, vectors = np.linalg.eigh(self.to_blocks(weights) * both)
        cut = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.transpose(0, 2, 1)
        return self.to_weights(cut / both)


class Stack(NamedTuple):
    """The arrays of a design, a row for each stacked row.

    Attributes:
      X: (v n, p).
      offset: (v n,).
      terms: with their columns on the stacked rows.
      mixture: how they read the predictors; where there is one, the arrays are the design's own.
      times: (n,) how many observations each row of the data stands for; None for one.
    """

    X: Floats
    offset: Floats
    terms: tuple[TermBlock, ...]
    mixture: Mixture
    times: Floats | None = None

    def orthogonal(self) -> tuple[Floats, Floats]:
        """X = Q R, with the columns of Q orthogonal on the observations of the predictors."""
        if self.mixture.num_predictors == 1 and self.times is None:
            return orthogonal(self.X)
        R = self.triangle()
        return np.asarray(np.linalg.solve(R.T, self.X.T).T, float), R

    def triangle(self) -> Floats:
        """(p, p) R alone of X = Q R."""
        k = self.mixture.num_predictors
        own = self.X[: k * self.mixture.num_rows]
        return triangle(own if self.times is None else (own.T * np.tile(np.sqrt(self.times), k)).T)


def stack(design: Design, units: Floats) -> Stack:
    """Stack the rows of a design.

    Args:
      design: of K predictors.
      units: (K,) what each predictor is measured in.
    Returns:
      The stack.
    """
    found = mixture(units, design.n)
    if design.num_predictors == 1:
        return Stack(design.X, design.offset, design.terms, found, design.frequency)
    fixed = found.readers[:, list(design.column_predictors)]
    terms = []
    for term in design.terms:
        reads = found.readers[:, list(term.predictors)]
        terms.append(
            replace(
                term,
                values=np.vstack([term.values * row for row in reads]),
                index=_repeated(term.index, len(reads)),
                shares=None if term.shares is None else _repeated(term.shares, len(reads)),
            )
        )
    offsets = found.readers @ np.array(design.offsets)
    X = np.vstack([design.X * row for row in fixed])
    return Stack(X, offsets.reshape(-1), tuple(terms), found, design.frequency)


def _repeated(array: np.ndarray, times: int) -> np.ndarray:
    """The rows of an array, so many times."""
    return np.tile(array, (times, *(1,) * (array.ndim - 1)))


def mixture(units: Floats, num_rows: int) -> Mixture:
    """How rows are stacked for predictors measured in these units (K,)."""
    k, inverse = len(units), 1.0 / np.asarray(units, float)
    pairs = list(itertools.combinations(range(k), 2))
    readers = np.vstack([np.eye(k), np.zeros((len(pairs), k))])
    weights = np.eye(k + len(pairs))
    for place, (a, b) in enumerate(pairs, start=k):
        readers[place, [a, b]] = inverse[[a, b]]
        weights[place, place] = 1.0 / (inverse[a] * inverse[b])
        weights[a, place] = -inverse[a] / inverse[b]
        weights[b, place] = -inverse[b] / inverse[a]
    return Mixture(readers, weights, num_rows)
