"""Result stage: log densities of rows that a fit has not seen, averaged over their uncertain predictors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.fit import FittedModel
from lmeformula.model.family import Family
from lmeformula.model.family import log_density as density_of
from lmeformula.result.predictor import family_values

Floats = NDArray[np.float64]
Arrays = tuple[Floats, ...]

# Nodes of the quadrature, and how many standard deviations of the predictor they reach to.
NUM_NODES, REACH = 61, 9.0
# Nodes for means, whose integrands are smooth.
NODES_OF_MEANS = 31
# Up to this standard deviation of a predictor they are enough.
WIDE = 1.0
# Numbers evaluated at a time.
CHUNK = 2_000_000
# Newton's steps to the middle of the integrand, which need not be met exactly; it is looked for this many
# standard deviations away.
MOST_STEPS, NEAR, FARTHEST = 60, 1e-3, 40.0


class LogDensities(NamedTuple):
    """Log densities of rows.

    Attributes:
      values: (n,) log densities, of categories and counts log probabilities.
      error: what half the nodes change in their sum, far more than its error; zero where they are exact.
    """

    values: Floats
    error: float


def log_predictive(
    fit: FittedModel, response: Arrays, eta: Floats, variances: Floats
) -> LogDensities:
    """Evaluate the log density of each row's response, its linear predictor taken as normal.

    Normal rows have it in closed form. For others it is an integral over one number, the row's linear
    predictor, however many effects it is the sum of: by the trapezoidal rule after a substitution by the
    hyperbolic sine, around the middle of the integrand.

    Args:
      fit: of which the family and its own parameters are taken.
      response: the rows' response arrays, as the family has them.
      eta: (n,) means of the linear predictors.
      variances: (n,) their variances.
    Returns:
      The log densities.
    References:
      Trefethen, Weideman (2014), The exponentially convergent trapezoidal rule, SIAM Review 56, 385-458.
    """
    family, own = fit.model.family, family_values(fit)
    if family.is_normal:
        total = variances + own[0] ** 2 / response[1]
        residual = response[0] - eta
        values = -0.5 * (np.log(2.0 * np.pi * total) + residual**2 / total)
        return LogDensities(np.asarray(values), 0.0)
    found, error = np.empty(len(eta)), 0.0
    size = max(CHUNK // (NUM_NODES * max(1, response[-1][:1].size)), 1)
    for start in range(0, len(eta), size):
        part = slice(start, start + size)
        rows = tuple(array[part] for array in response)
        # Where nothing is uncertain the integrand is a point.
        spread = np.maximum(variances[part], 1e-16)
        middle, width = _middle(family, rows, own, eta[part], spread)
        found[part], rough = _integrate(family, rows, own, eta[part], spread, middle, width)
        error += rough
    return LogDensities(found, error)


def mean_over(fit: FittedModel, eta: Floats, variances: Floats) -> Floats:
    """(n,) expected responses, their linear predictors taken as normal with these means and variances."""
    family, own = fit.model.family, family_values(fit)
    at = np.asarray(family.mean(eta, own))
    if np.array_equal(at, eta):
        # The mean is the predictor, whatever the link is called: so is its average.
        return at
    sds, total = np.sqrt(variances), np.zeros(len(eta))
    for node, weight in zip(*normal_rule(float(sds.max(initial=0.0))), strict=True):
        total += weight * family.mean(eta + sds * node, own)
    return total


def normal_rule(sd: float) -> tuple[Floats, Floats]:
    """Nodes and weights for averages of smooth functions over normal predictors, the widest of this sd.

    Gauss-Hermite nodes while they lie densely for functions such as the logistic, which has a pole at pi i; the
    trapezoidal rule, as dense as that takes, beyond.
    """
    if sd <= WIDE:
        nodes, weights = np.polynomial.hermite_e.hermegauss(NODES_OF_MEANS)
        return nodes, weights / weights.sum()
    reach = REACH + min(sd, REACH)
    nodes = np.linspace(-reach, reach, 2 * int(np.ceil(reach * max(sd / 0.6, 2.5))) + 1)
    weights = np.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def _middle(
    family: Family, response: Arrays, own: Floats, eta: Floats, variances: Floats
) -> tuple[Floats, Floats]:
    """(n,) where density times normal density of the predictor is greatest, and its width there."""
    from lmeformula.laplace.rows import form_of  # may start TensorFlow

    form = form_of(family, response)
    at, precision, sds = eta.copy(), 1.0 / variances, np.sqrt(variances)
    low, high = eta - FARTHEST * sds, eta + FARTHEST * sds
    for number in range(MOST_STEPS):
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            rows = form.slopes(at, response, own)
        # A density that is not log-concave there adds nothing to the curvature.
        curvature = precision + np.maximum(-np.nan_to_num(rows.second), 0.0)
        slope = np.nan_to_num(rows.first) - (at - eta) * precision
        low, high = np.where(slope >= 0, at, low), np.where(slope <= 0, at, high)
        width = 1.0 / np.sqrt(curvature)
        step = slope / curvature
        if np.abs(step / width).max(initial=0.0) < NEAR:
            break
        # Every third step halves the bracket: Newton's alone creep along an exponential slope.
        there, is_halved = at + step, number % 3 == 2
        is_inside = (low < there) & (there < high) & (not is_halved or np.abs(step) < NEAR * width)
        at = np.where(is_inside, there, 0.5 * (low + high))
    return at, width


def _integrate(
    family: Family,
    response: Arrays,
    own: Floats,
    eta: Floats,
    variances: Floats,
    middle: Floats,
    width: Floats,
) -> tuple[Floats, float]:
    """(n,) logarithms of the integrals, and by how much a rule with half the nodes differs in their sum."""
    # Nodes lie densely around the middle and reach far into the tails of a predictor of little information.
    reach = np.arcsinh(REACH * np.sqrt(variances) / width)
    spacing = 2.0 * reach / (NUM_NODES - 1)
    inner = np.linspace(-1.0, 1.0, NUM_NODES) * reach[:, None]
    places = middle[:, None] + width[:, None] * np.sinh(inner)
    away = (places - eta[:, None]) ** 2 / variances[:, None]
    logs = np.nan_to_num(row_log_density(family, response, own, places), nan=-np.inf, posinf=np.inf)
    logs = logs - 0.5 * away + np.log(np.cosh(inner))
    top = logs.max(axis=1)
    mass = np.exp(logs - top[:, None])
    # Every other node is a rule of its own, with twice the spacing.
    fine, rough = (
        np.log(step * part.sum(axis=1))
        for step, part in ((spacing, mass), (2 * spacing, mass[:, ::2]))
    )
    values = top + fine + np.log(width) - 0.5 * np.log(2.0 * np.pi * variances)
    return np.asarray(values), float(np.abs(fine - rough).sum())


def row_log_density(family: Family, response: Arrays, own: Floats, eta: Floats) -> Floats:
    """(n, c) log densities of rows, each at c linear predictors (n, c)."""
    if family.probabilities is not None and family.categories is not None:
        # Without TensorFlow, and in no memory but that of the chances.
        codes = np.repeat(response[0].astype(np.int64), eta.shape[1])
        each = family.probabilities(eta.ravel(), own)[np.arange(eta.size), codes]
        with np.errstate(divide="ignore"):
            return np.log(each).reshape(eta.shape)
    import tensorflow as tf

    given = tuple(tf.constant(array, tf.float64) for array in response)
    values = tuple(tf.constant(value, tf.float64) for value in own)
    return np.asarray(density_of(family, tf.constant(eta), given, values))
