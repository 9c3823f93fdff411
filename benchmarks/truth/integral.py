"""The likelihood itself of effects that hang together in twos: iterated trapezoidal rules, written out.

An outer effect is integrated over all that the levels inside of it say, each with its inner effect integrated
given the outer one. Two effects of one factor are an outer and an inner one; one alone has nothing inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from truth.densities import Family
from truth.laplace import Laplace, root
from truth.matrices import Matrices

# How far out the prior has mass worth counting, in standard deviations.
REACH = 9.0
# Nodes along each axis, of one and of two effects: the first that agree with those before are taken.
NODES = {1: (101, 201, 401, 801, 1601, 6401), 2: (31, 61, 121, 241)}
# Log-likelihoods that agree.
AGREES = 1e-8
HALF_LOG_2PI = 0.5 * float(np.log(2.0 * np.pi))


class Posterior(NamedTuple):
    """The log-likelihood, and of each term the (levels, k) means and sds of its effects given the data."""

    value: float
    means: list[np.ndarray]
    sds: list[np.ndarray]


class Integral:
    """log of the integral of p(y | b) N(b; 0, Sigma) over effects of one factor, or of two nested ones.

    Attributes:
      size: nodes along each axis, from `settle`.
    """

    def __init__(self, parts: Matrices, family: Family, y: np.ndarray, trials: np.ndarray) -> None:
        self.parts, self.family, self.y, self.trials = parts, family, y, trials
        self.size = 0
        self._laplace = Laplace(parts, family, y, trials)
        self._outer, self._inner = _places(parts)

    def settle(
        self,
        beta: np.ndarray,
        matrices: Sequence[np.ndarray],
        own: np.ndarray,
        agrees: float = AGREES,
    ) -> bool:
        """Take as many nodes as the integral needs at these parameters; whether some number does.

        Args:
          beta, matrices, own: the parameters.
          agrees: log-likelihoods that differ by less, or by less than that share, are the same.
        """
        before = np.nan
        for size in NODES[1 if self._inner is None else 2]:
            self.size = size
            value = self.at(beta, matrices, own)
            if abs(value - before) < agrees * max(1.0, abs(value)):
                return True
            before = value
        return False

    def at(self, beta: np.ndarray, matrices: Sequence[np.ndarray], own: np.ndarray) -> float:
        """The log-likelihood at any parameters."""
        return self.posterior(beta, matrices, own).value

    def posterior(
        self, beta: np.ndarray, matrices: Sequence[np.ndarray], own: np.ndarray
    ) -> Posterior:
        """The log-likelihood, and the effects given the data."""
        assert self.size, "settle first"
        base = self.parts.X @ beta + self.parts.offset
        roots = [root(matrix) for matrix in matrices]
        A = np.hstack(
            [
                Z @ np.kron(np.eye(term.levels), L)
                for Z, term, L in zip(self._laplace.dense, self.parts.effects, roots, strict=True)
            ]
        )
        mode, H = self._around(A, base, own)
        inverse = np.linalg.inv(H)
        value, q = 0.0, len(mode)
        means, moments = np.zeros(q), np.zeros((q, q))
        for i in np.unique(self._outer):
            width = np.sqrt(inverse[i, i])
            u, log_u = _rule(np.array([mode[i]]), width, REACH + abs(mode[i]), self.size)
            total = (log_u - 0.5 * u**2 - HALF_LOG_2PI)[0]
            u, inside = u[0], []
            rows = np.flatnonzero(self._outer == i)
            for j in [None] if self._inner is None else np.unique(self._inner[rows]):
                mine = rows if j is None else rows[self._inner[rows] == j]
                if j is None:
                    v, logs = np.zeros((len(u), 1)), np.zeros((len(u), 1))
                else:
                    shift = mode[j] - H[i, j] / H[j, j] * (u - mode[i])
                    reach = 2.0 * REACH + abs(mode[j])
                    v, logs = _rule(shift, 1.0 / np.sqrt(H[j, j]), reach, self.size)
                    logs = logs - 0.5 * v**2 - HALF_LOG_2PI
                for row in mine:
                    eta = base[row] + A[row, i] * u[:, None] + (0.0 if j is None else A[row, j] * v)
                    logs = logs + self._densities(row, eta, own)
                within = logsumexp(logs, axis=1)
                total = total + within
                if j is not None:
                    shares = np.exp(logs - np.where(np.isfinite(within), within, 0.0)[:, None])
                    inside.append((j, (shares * v).sum(axis=1), (shares * v**2).sum(axis=1)))
            log_integral = logsumexp(total)
            shares = np.exp(total - log_integral)
            value += log_integral
            means[i], moments[i, i] = shares @ u, shares @ u**2
            for j, first, second in inside:
                means[j], moments[j, j] = shares @ first, shares @ second
                moments[i, j] = moments[j, i] = shares @ (u * first)
        return self._of_terms(float(value), roots, means, moments - np.outer(means, means))

    def _densities(self, row: int, eta: np.ndarray, own: np.ndarray) -> np.ndarray:
        found = self.family.log_density(
            np.full(1, self.y[row]), np.full(1, self.trials[row]), eta, own
        )
        # Far out, where a density overflows, it is nil.
        return np.where(np.isnan(found), -np.inf, found)

    def _around(
        self, A: np.ndarray, base: np.ndarray, own: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where nodes are laid: a mode and the curvature there, or the prior's."""
        for start in (self._laplace.u, np.zeros(A.shape[1])):
            found = self._laplace.mode(A, base, own, start)
            if found is not None:
                self._laplace.u, _, curvature = found
                bends = np.maximum(curvature, 0.0)
                return self._laplace.u, (A * bends[:, None]).T @ A + np.eye(A.shape[1])
        return np.zeros(A.shape[1]), np.eye(A.shape[1])

    def _of_terms(
        self, value: float, roots: list[np.ndarray], means: np.ndarray, covariance: np.ndarray
    ) -> Posterior:
        found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        start = 0
        for term, L in zip(self.parts.effects, roots, strict=True):
            k = L.shape[0]
            here = start + np.arange(term.levels * k).reshape(-1, k)
            start += term.levels * k
            own = covariance[here[:, :, None], here[:, None, :]]
            variances = np.einsum("ab,lbc,ac->la", L, own, L)
            found[0].append(means[here] @ L.T)
            found[1].append(np.sqrt(np.maximum(variances, 0.0)))
        return Posterior(value, *found)


def _places(parts: Matrices) -> tuple[np.ndarray, np.ndarray | None]:
    """(n,) the place of each row's outer effect among all, and of its inner one if there are such."""
    terms = parts.effects
    sizes = [term.values.shape[1] for term in terms]
    if sizes == [1]:
        return terms[0].index, None
    if sizes == [2]:
        return 2 * terms[0].index, 2 * terms[0].index + 1
    assert sizes == [1, 1], "more effects hang together than two"
    starts = (0, terms[0].levels)
    for outer, inner in ((0, 1), (1, 0)):
        pairs = np.stack([terms[outer].index, terms[inner].index], axis=1)
        if len(np.unique(pairs, axis=0)) == terms[inner].levels:
            return starts[outer] + terms[outer].index, starts[inner] + terms[inner].index
    raise AssertionError("neither factor is nested in the other")


def _rule(centre: np.ndarray, width: float, reach: float, size: int):
    """(m, size) nodes from each centre as far as `reach`, and their log weights: dense at the centre."""
    end = np.arcsinh(reach / width)
    t = np.linspace(-end, end, size)
    logs = np.log(width * (t[1] - t[0]) * np.cosh(t))
    return centre[:, None] + width * np.sinh(t), np.broadcast_to(logs, (len(centre), size))
