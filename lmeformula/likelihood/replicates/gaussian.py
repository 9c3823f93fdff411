"""The Gaussian likelihoods of many responses of one design, all of whose effects are of one grouping factor.

Given the relative covariance T of a level's effects, its responses come in by the cross products of what fixed
effects leave of them alone. Levels with the same products Z'WZ are one kind of level, whose cross products are
summed once: a balanced design has one kind, however many levels.

References: as of `likelihood.gaussian.likelihood`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import model_matrix
from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.design.design import Design, TermBlock
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.gaussian.from_residuals import CLOSE
from lmeformula.likelihood.gaussian.sums import Carrier, left_by_regression, weighted
from lmeformula.likelihood.replicates.ascent import Heights


class Levels(NamedTuple):
    """The cross products of a design's levels, in whose sums kinds of levels are told apart.

    Attributes:
      term: columns Z (n, k) of all effects of a level, as of one term.
      kind: (l,) of each level.
      counts: (c,) levels of a kind.
      products: (c, k, k) Z'WZ of a level of each kind.
      ZQ: (l, k, p) Z'W^(1/2) Q.
      squares: (c k k, p p) sums over a kind's levels of the products of rows of ZQ.
    """

    term: TermBlock
    kind: Ints
    counts: Ints
    products: Floats
    ZQ: Floats
    squares: Floats

    def summed(self, each: Floats) -> Floats:
        """(m, c, ...) sums over the levels (m, l, ...) of a kind."""
        order = np.argsort(self.kind, kind="stable")
        firsts = np.searchsorted(self.kind[order], np.arange(len(self.counts)))
        return np.asarray(np.add.reduceat(each[:, order], firsts, axis=1))


def one_factor(terms: tuple[TermBlock, ...]) -> TermBlock | None:
    """The effects of all terms as those of one, where they are of the same levels; None where they are not."""
    first = terms[0]
    if any(term.meets for term in terms):
        return None
    if any(term.levels != first.levels for term in terms[1:]):
        return None
    if any(not np.array_equal(term.index, first.index) for term in terms[1:]):
        return None
    if len(np.unique(first.index)) < len(first.levels):
        return None
    values = np.hstack([term.values for term in terms])
    return replace(first, values=values)


def levels_of(design: Design, carrier: Carrier) -> Levels | None:
    """The cross products of a design's levels; None where effects are of several grouping factors."""
    term = one_factor(design.terms)
    if term is None:
        return None
    rows = carrier.none.rows_here
    values = term.values if rows.root is None else term.values * rows.root[:, None]
    order = np.argsort(term.index, kind="stable")
    firsts = np.searchsorted(term.index[order], np.arange(len(term.levels)))
    sorted_values = values[order]
    each = np.add.reduceat(sorted_values[:, :, None] * sorted_values[:, None], firsts, axis=0)
    num_levels, k = each.shape[:2]
    products, kind, counts = np.unique(
        each.reshape(num_levels, -1), axis=0, return_inverse=True, return_counts=True
    )
    with_weights = replace(term, values=values)
    ZQ = np.asarray(model_matrix(with_weights).T @ rows.Q).reshape(num_levels, k, rows.Q.shape[1])
    found = Levels(
        with_weights, kind.reshape(-1), counts, products.reshape(-1, k, k), ZQ, np.empty(0)
    )
    squares = found.summed(np.einsum("lap,lbq->labpq", ZQ, ZQ)[None])[0]
    p = ZQ.shape[2]
    return found._replace(squares=squares.reshape(len(counts) * k * k, p * p))


class Responses(NamedTuple):
    """What the likelihoods need of m responses.

    Attributes:
      yy: (m,) sums of squares of what fixed effects leave.
      ols: (m, p) coefficients of the regressions.
      squares: (m, c, k, k) sums over a kind's levels of the products of Z'W^(1/2) residuals.
      mixed: (m, c k k, p) sums of their products with ZQ.
    """

    yy: Floats
    ols: Floats
    squares: Floats
    mixed: Floats


class Solved(NamedTuple):
    """The least squares problems of a replicates, solved; attributes as of `gaussian.solution.Solution`.

    Attributes:
      log_det: (a,) log |M|.
      gamma: (a, p).
      information: (a, p, p).
      rss: (a,).
      has_digits: (a,) whether that, and the information, are more than differences.
      in_factor: (a, k, k) derivative of the log-likelihood in Lambda.
    """

    log_det: Floats
    gamma: Floats
    information: Floats
    rss: Floats
    has_digits: Mask
    in_factor: Floats


class GaussianReplicates:
    """The profiled likelihoods of m responses, in the elements of the relative covariance factors.

    Args:
      levels: the design's cross products.
      carrier: the same as a single fit has them.
      charts: of the factors, linear in their elements.
      Y: (m, n) responses.
      reml: of the restricted likelihoods.
      sigma: the residual standard deviation, where it is held.
    """

    def __init__(
        self,
        levels: Levels,
        carrier: Carrier,
        charts: FactorSpace,
        Y: Floats,
        reml: bool,
        sigma: float | None,
    ) -> None:
        self.levels, self.sums, self.reml, self.sigma = levels, carrier.none, reml, sigma
        self.basis = charts.basis()
        self.num_elements = len(self.basis)
        residual, Qy = left_by_regression(carrier, weighted(carrier, Y.T))
        num_levels, k, p = levels.ZQ.shape
        Zy = np.asarray(model_matrix(levels.term).T @ residual).T.reshape(len(Y), num_levels, k)
        mixed = levels.summed(np.einsum("mla,lbp->mlabp", Zy, levels.ZQ))
        self.responses = Responses(
            yy=np.einsum("nm,nm->m", residual, residual),
            ols=np.asarray(np.linalg.solve(self.sums.R, Qy).T, float),
            squares=levels.summed(Zy[:, :, :, None] * Zy[:, :, None]),
            mixed=mixed.reshape(len(Y), len(levels.counts) * k * k, p),
        )

    def factors(self, elements: Floats) -> Floats:
        """(a, k, k) relative covariance factors."""
        t, k, _ = self.basis.shape
        return np.asarray((elements @ self.basis.reshape(t, -1)).reshape(-1, k, k))

    def look(self, elements: Floats, which: Ints) -> Heights:
        """See `Look`."""
        with np.errstate(all="ignore"):
            solved = self.solve(elements, which)
            values = self.values(solved)
            scores = np.einsum("ars,trs->at", solved.in_factor, self.basis)
        return Heights(np.where(solved.has_digits, values, -np.inf), scores)

    def values(self, solved: Solved) -> Floats:
        """(a,) log-likelihoods, or restricted ones, on R's constants."""
        data = self.sums
        variance = self.variances(solved)
        found = solved.log_det - data.log_weights + solved.rss / variance
        found += data.freedom(self.reml) * np.log(2.0 * np.pi * variance)
        if self.reml:
            found += np.linalg.slogdet(solved.information)[1]
            found += 2.0 * np.log(np.abs(np.diag(data.R))).sum()
        return np.asarray(-0.5 * found)

    def variances(self, solved: Solved) -> Floats:
        """(a,) of the residuals, at their best where sigma is not held."""
        if self.sigma is not None:
            return np.full_like(solved.rss, self.sigma**2)
        return solved.rss / self.sums.freedom(self.reml)

    def solve(self, elements: Floats, which: Ints) -> Solved:
        """Solve the penalised least squares problems, at the best fixed effects."""
        levels, data = self.levels, self.responses
        (c, k), (a, p) = levels.products.shape[:2], (len(which), levels.ZQ.shape[2])
        factors = self.factors(elements)
        T = factors @ factors.transpose(0, 2, 1)
        M = np.eye(k) + levels.products @ T[:, None]
        G = np.linalg.inv(M)
        log_det = (np.linalg.slogdet(M)[1] * levels.counts).sum(axis=1)
        # (T^-1 + Z'WZ)^-1 of each kind, and V^-1 = W - W Z H Z'W.
        H = T[:, None] @ G
        flat = H.reshape(a, c * k * k)
        information = np.eye(p) - (flat @ levels.squares).reshape(a, p, p)
        mixed, squares = data.mixed[which], data.squares[which]
        pull = -np.einsum("ah,ahp->ap", flat, mixed)
        # Whose fixed effects go along with other ones has no digits here, and may have no solution.
        is_told = np.atleast_1d((np.linalg.eigvalsh(information) > CLOSE).all(axis=1))
        safe = np.where(is_told[:, None, None], information, np.eye(p))
        gamma = np.linalg.solve(safe, pull[:, :, None])[:, :, 0]
        rss = data.yy[which] - (flat * squares.reshape(a, -1)).sum(axis=1)
        rss -= (gamma * pull).sum(axis=1)
        cross = (mixed @ gamma[:, :, None]).reshape(a, c, k, k)
        products = np.einsum("ap,aq->apq", gamma, gamma).reshape(a, p * p)
        fixed = (products @ levels.squares.T).reshape(a, c, k, k)
        left = squares - cross - cross.transpose(0, 1, 3, 2) + fixed
        variance = rss / self.sums.freedom(self.reml) if self.sigma is None else self.sigma**2
        inner = left / np.reshape(variance, (-1, 1, 1, 1))
        if self.reml:
            inverse = np.linalg.inv(safe).reshape(a, p * p)
            inner = inner + (inverse @ levels.squares.T).reshape(a, c, k, k)
        spread = levels.counts[:, None, None] * (G @ levels.products)
        in_T = (G @ inner @ G.transpose(0, 1, 3, 2) - spread).sum(axis=1)
        is_large = rss > CLOSE * data.yy[which]
        return Solved(log_det, gamma, information, rss, is_told & is_large, in_T @ factors)
