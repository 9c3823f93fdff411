"""Log densities of rows that a fit has not seen, averaged over their uncertain predictors."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import scipy.special
import scipy.stats

from lmeformula.arrays import Floats
from lmeformula.family import Family
from lmeformula.family import log_density as density_of
from lmeformula.family.record import Arrays
from lmeformula.fit import FittedModel
from lmeformula.prediction.normal_points import REACH, row_roots, sinh_rule
from lmeformula.prediction.row_slopes import row_slopes

# Nodes of the quadrature along each predictor, by how many there are; odd, so that every other one is a rule.
NUM_NODES = {1: 61, 2: 41, 3: 21}
# Points where there are more, drawn so many times; the t distribution that they are drawn from.
NUM_DRAWN, NUM_SETS, FREEDOM = 2048, 8, 10.0
# Numbers evaluated at a time.
CHUNK = 2_000_000
# Newton's steps to the middle of the integrand, which need not be met exactly, and what they are multiplied by
# in search of the best: along an exponential slope Newton's own creep.
MOST_STEPS, NEAR = 60, 1e-3
LENGTHS = 2.0 ** np.arange(-8.0, 4.0)


class LogDensities(NamedTuple):
    """Log densities of rows.

    Attributes:
      values: (n,) log densities, of categories and counts log probabilities.
      error: of their sum. Of up to three predictors what half the nodes change, far more than the error; of
        more the standard error of what was drawn; zero where they are exact.
    """

    values: Floats
    error: float


class _Rows(NamedTuple):
    """Rows and their predictors eta + L z, with z standard normal.

    Attributes:
      family, response, own: of the rows' density.
      eta: (K, n) means.
      roots: (n, K, K) L.
    """

    family: Family
    response: Arrays
    own: Floats
    eta: Floats
    roots: Floats

    def at(self, z: Floats) -> Floats:
        """(K, n, c) predictors at z (n, c, K)."""
        return np.asarray(self.eta[:, :, None] + np.einsum("nab,ncb->anc", self.roots, z))

    def log_integrand(self, z: Floats) -> Floats:
        """(n, c) log density less half the square of z (n, c, K); none where it is not a number."""
        eta = self.at(z)
        logs = row_log_density(self.family, self.response, self.own, eta)
        logs = np.nan_to_num(logs, nan=-np.inf, posinf=np.inf)
        return np.asarray(logs - 0.5 * (z**2).sum(axis=-1))


class _Middle(NamedTuple):
    """Where integrands are greatest, and how wide they are there.

    Attributes:
      z: (n, K).
      values: (n, K) eigenvalues of their curvature.
      vectors: (n, K, K) its eigenvectors, in columns.
    """

    z: Floats
    values: Floats
    vectors: Floats


def log_predictive(fit: FittedModel, response: Arrays, eta: Floats, spread: Floats) -> LogDensities:
    """Evaluate the log density of each row's response, its linear predictors taken as normal.

    Normal rows have it in closed form. For others it is an integral over the row's linear predictors, however
    many effects they are sums of: by the trapezoidal rule after a substitution by the hyperbolic sine, along
    the axes of the integrand around its middle. Over four predictors and more points are drawn there instead,
    with a fixed seed and with their weights.

    Args:
      fit: of which the family and its own parameters are taken.
      response: the rows' response arrays, as the family has them.
      eta: (K, n) means of the linear predictors.
      spread: (n, K, K) their covariances.
    Returns:
      The log densities.
    References:
      Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458; Owen
      (2013), Monte Carlo theory, methods and examples, sections 9.1 and 17.3, for draws.
    """
    family, own = fit.model.family, fit.params.own
    if family.is_normal:
        total = spread[:, 0, 0] + own[0] ** 2 / response[1]
        values = scipy.stats.norm.logpdf(response[0], eta[0], np.sqrt(total))
        return LogDensities(np.asarray(values), 0.0)
    k, n = eta.shape
    num_points = NUM_NODES[k] ** k if k in NUM_NODES else NUM_SETS * NUM_DRAWN
    found = np.empty(n)
    errors: list[Floats] = []
    size = max(CHUNK // (num_points * k * max(1, response[-1][:1].size)), 1)
    for start in range(0, n, size):
        part = slice(start, start + size)
        rows = _Rows(
            family,
            tuple(array[part] for array in response),
            own,
            eta[:, part],
            row_roots(spread[part]),
        )
        work = _integrate if k in NUM_NODES else _sample
        found[part], rough = work(rows, _middle(rows))
        errors.append(rough)
    return LogDensities(found, _error_of_sum(errors))


def _error_of_sum(errors: list[Floats]) -> float:
    """Of what parts of the rows give: differences (1,), or sums (m,) of sets of draws that vary by chance."""
    if not errors:
        return 0.0
    total = np.sum(errors, axis=0)
    if len(total) == 1:
        return float(total[0])
    return float(np.std(total, ddof=1) / np.sqrt(len(total)))


def _middle(rows: _Rows) -> _Middle:
    """The greatest points of the integrands: Newton's directions, the best of several lengths along each."""
    k, n = rows.eta.shape
    slopes = row_slopes(rows.family, rows.response)
    z = np.zeros((n, k))
    for _ in range(MOST_STEPS):
        found = slopes(rows.at(z[:, None])[:, :, 0], rows.own)
        first, second = np.nan_to_num(found.first), np.nan_to_num(found.second)
        turned = rows.roots.transpose(0, 2, 1)
        curvature = -(turned @ second @ rows.roots)
        # A density that is not log-concave in a direction adds nothing to the curvature there.
        values, vectors = np.linalg.eigh(np.nan_to_num(curvature))
        values = 1.0 + np.maximum(values, 0.0)
        slope = np.nan_to_num((turned @ first[:, :, None])[:, :, 0]) - z
        along = np.einsum("nab,na->nb", vectors, slope)
        step = np.einsum("nab,nb->na", vectors, along / values)
        moving = np.flatnonzero((along**2 / values).sum(axis=1) > NEAR**2)
        if not len(moving):
            break
        some = rows._replace(
            response=tuple(array[moving] for array in rows.response),
            eta=rows.eta[:, moving],
            roots=rows.roots[moving],
        )
        lengths = np.concatenate([[0.0], LENGTHS])
        tried = z[moving, None] + lengths[:, None] * step[moving, None]
        best = np.argmax(np.nan_to_num(some.log_integrand(tried), posinf=-np.inf), axis=1)
        z[moving] = tried[np.arange(len(moving)), best]
        if not best.any():
            break
    return _Middle(z, values, vectors)


def _integrate(rows: _Rows, middle: _Middle) -> tuple[Floats, Floats]:
    """(n,) logarithms of the integrals, and (1,) how much a rule with half the nodes differs in their sum."""
    k, n = rows.eta.shape
    count = NUM_NODES[k]
    along, stretch = sinh_rule(middle.values, count, REACH)
    spacing = 2.0 * np.arcsinh(REACH * np.sqrt(middle.values)) / (count - 1)
    z = middle.z[:, None] + np.einsum("nab,ncb->nca", middle.vectors, along)
    logs = rows.log_integrand(z) + stretch
    top = logs.max(axis=1)
    mass = np.exp(logs - top[:, None]).reshape(n, *[count] * k)
    # Every other node is a rule of its own, with twice the spacing.
    every_other = (slice(None), *[slice(None, None, 2)] * k)
    axes, volume = tuple(range(1, k + 1)), spacing.prod(axis=1)
    fine = np.log(volume * mass.sum(axis=axes))
    rough = np.log(2.0**k * volume * mass[every_other].sum(axis=axes))
    values = top + fine - 0.5 * np.log(middle.values).sum(axis=1) - 0.5 * k * np.log(2.0 * np.pi)
    return np.asarray(values), np.abs(fine - rough).sum(keepdims=True)


def _sample(rows: _Rows, middle: _Middle) -> tuple[Floats, Floats]:
    """(n,) logarithms of the integrals by weighted draws, and the sums of those of each set of draws alone."""
    k, n = rows.eta.shape
    sets = []
    for seed in range(NUM_SETS):
        uniform = scipy.stats.qmc.Sobol(k + 1, rng=np.random.default_rng(seed)).random(NUM_DRAWN)
        normal = scipy.special.ndtri(np.clip(uniform[:, :k], 1e-12, 1.0 - 1e-12))
        stretch = np.sqrt(FREEDOM / scipy.stats.chi2.ppf(uniform[:, k:], FREEDOM))
        points = normal * stretch
        # The density of the draws, of the multivariate t distribution.
        squared = 1.0 + (points**2).sum(axis=1) / FREEDOM
        of_draws = (
            scipy.special.gammaln((FREEDOM + k) / 2.0)
            - scipy.special.gammaln(FREEDOM / 2.0)
            - 0.5 * k * np.log(FREEDOM * np.pi)
            - 0.5 * (FREEDOM + k) * np.log(squared)
        )
        away = points / np.sqrt(middle.values)[:, None]
        z = middle.z[:, None] + np.einsum("nab,ncb->nca", middle.vectors, away)
        sets.append(scipy.special.logsumexp(rows.log_integrand(z) - of_draws, axis=1))
    constant = 0.5 * np.log(middle.values).sum(axis=1) + 0.5 * k * np.log(2.0 * np.pi)
    each = np.array(sets) - np.log(NUM_DRAWN) - constant
    values = scipy.special.logsumexp(each, axis=0) - np.log(NUM_SETS)
    return np.asarray(values).reshape(n), each.sum(axis=1)


def row_log_density(family: Family, response: Arrays, own: Floats, eta: Floats) -> Floats:
    """(n, c) log densities of rows, each at c points of their linear predictors (K, n, c)."""
    if family.probabilities is not None and family.categories is not None:
        # Without TensorFlow, and in no memory but that of the chances.
        n, c = eta.shape[-2:]
        codes = np.repeat(response[0].astype(np.int64), c)
        chances = family.probabilities(family.as_taken(eta.reshape(-1, n * c)), own)
        with np.errstate(divide="ignore"):
            return np.log(chances[np.arange(n * c), codes]).reshape(n, c)
    import tensorflow as tf

    given = tuple(tf.constant(array, tf.float64) for array in response)
    values = tuple(tf.constant(value, tf.float64) for value in own)
    at = tf.constant(family.as_taken(eta, 0))
    if family.scale is not None:
        # A user's density may ask for the number of rows.
        return np.asarray(density_of(family, at, given, values))
    program = _density_program(family, at.ndim, len(own), tuple(a.shape[1:] for a in response))
    return np.asarray(program(at, given, values))


@functools.lru_cache(maxsize=64)
def _density_program(
    family: Family, ndim: int, num_own: int, shapes: tuple[tuple[int, ...], ...]
) -> Any:
    """The log density as one program for any number of rows and points.

    One operation after the other, each on all points, takes three to ten times as long.
    """
    import tensorflow as tf

    arrays = tuple(tf.TensorSpec([None, *shape], tf.float64) for shape in shapes)
    own = (tf.TensorSpec([], tf.float64),) * num_own
    signature = (tf.TensorSpec([None] * ndim, tf.float64), arrays, own)
    return tf.function(
        functools.partial(density_of, family), autograph=False, input_signature=signature
    )
