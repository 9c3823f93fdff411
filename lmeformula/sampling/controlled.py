"""The log-likelihood, from draws of the posterior and of a Gaussian close to it, nearly without noise.

With e the log density of the posterior over that of the Gaussian, and E_t the mean over the density at power t
between the two,

    log ratio = integral of E_t[e] over t from 0 to 1.

Stein's identity at t, E_t[A g + t grad e . grad g] = 0 with A g = tr g'' - z . grad g in coordinates where the
Gaussian is N(0, I), holds for any function g of the effects. With g such that A g = -e, but for a constant,

    E_t[e] = E_t[e + A g] + t E_t[h],    h = grad e . grad g,

where e + A g varies no more, and h is a sum of squares over the effects: a few dozen draws know its mean. Here
e is a sum of functions of single rows, whose expansions in Hermite polynomials, eigenfunctions of A, make g;
what these leave over is drawn. Where the precision P of the Gaussian only stands for M, e has x'(P - M)x / 2
besides, x the move from the center, of which half makes up for it in g but for tr(I - P^-1 M) / 2. The draws of
both ends stand for those at t, weighted.

References: Oates, Papamarkou, Girolami (2016), JASA 111, 634-645, for control variates along the path; Gelman,
Meng (1998), Stat. Sci. 13, 163-185; Shirts, Chodera (2008), J. Chem. Phys. 129, 124105, for draws of several
densities as those of one between them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.special import expit, factorial

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.probed import NearFactor
from lmeformula.arrays import Floats
from lmeformula.em.bridge import LogRatio
from lmeformula.em.series import mean_covariance
from lmeformula.likelihood.laplace.likelihood import Mode, Problem
from lmeformula.sampling.laplace import whitening_factor
from lmeformula.sampling.reference import Reference

# Nodes of the quadrature for the rows' expansions, and the highest polynomial in them.
NUM_NODES, DEGREE = 9, 5
# Draws of either end: at most so many.
MOST_DRAWS = 128
# Draws of one task of a thread, and threads.
AT_ONCE, NUM_WORKERS = 8, 2
# Nodes in (0, 1).
POWERS, SHARES = (part / 2.0 for part in np.polynomial.legendre.leggauss(6))
POWERS = POWERS + 0.5
# How often the draws are weighted anew, by a better value each time.
NUM_TIMES = 3
# Weighted draws at a power are worth so many that are not, or else both ends have too little in common there.
ENOUGH = 20.0
# Of an error of the value no more than this may come back.
MOST_RETURNED = 0.5


class Expansion(NamedTuple):
    """What the integrand is worked out from.

    Attributes:
      problem: the model's arrays.
      mode: of the effects, with the parameters.
      reference: the Gaussian.
      eta: (n,) predictors at its center.
      variances: (n,) of the predictors.
      slopes: (DEGREE + 1, n) the derivative of each row's part of g: coefficients of powers of the move of its
        predictor.
      beyond: tr(I - P^-1 M) / 2.
    """

    problem: Problem
    mode: Mode
    reference: Reference
    eta: Floats
    variances: Floats
    slopes: Floats
    beyond: float


class Series(NamedTuple):
    """At draws: e, e + A g, and h."""

    excess: Floats
    left: Floats
    slope: Floats


def controlled_integral(
    problem: Problem,
    mode: Mode,
    reference: Reference,
    positions: Floats,
    seed: int,
    directions: Floats | None = None,
) -> LogRatio:
    """The log of the integral of the posterior's density over that of the Gaussian's, without its constant.

    Args:
      problem: the model's arrays. With several linear predictors g knows less of e, and the error is larger.
      mode: the conditional mode, with M factored.
      reference: the Gaussian.
      positions: (m, q, c) draws of the posterior, in the coordinates where the approximation at the mode is
        N(0, I).
      seed: of the draws of the Gaussian.
      directions: of what stands for M there, if that is not factored.
    Returns:
      The log ratio; its error is nan where the two densities have too little in common.
    """
    factor = whitening_factor(mode.factor, directions)
    q, chains = positions.shape[1:]
    positions = positions[:: -(-len(positions) * chains // MOST_DRAWS)]
    kept = positions.transpose(1, 0, 2).reshape(q, -1)
    noise = np.random.default_rng([seed & 0x7FFFFFFF, 0x7374]).normal(size=kept.shape[::-1])
    above = (mode.u - reference.center)[:, None] + factor.solve_upper(kept)
    below = reference.factor.solve_upper(np.ascontiguousarray(noise.T))
    found = _series_at(_expand(problem, mode, reference), np.hstack([below, above]))
    ends = np.hsplit(np.array(found), 2)
    return integrated(*(Series(*each.reshape(3, -1, chains)) for each in ends))


def integrated(below: Series, above: Series) -> LogRatio:
    """The integral from draws (m, c) of the Gaussian, and as many of the posterior, of c chains.

    Example:
      >>> rng = np.random.default_rng(1)
      >>> x, y = rng.normal(size=(2, 4000, 1)) * [[[1.0]], [[0.8]]]  # exp(-x^2/2) and exp(-x^2/(2*.64))
      >>> def series(v):  # with g = -a v^2 / 2, e + A g is a
      ...     a = 0.5 * (1 - 1 / 0.64)
      ...     return Series(a * v**2, 0.0 * v + a, 2.0 * (a * v) ** 2)
      >>> found = integrated(series(x), series(y))
      >>> bool(abs(found.value - np.log(0.8)) < 4 * found.mc_error), bool(found.mc_error < 0.003)
      (True, True)
    """
    excess, left, slope = (np.stack(pair) for pair in zip(below, above, strict=True))
    if not np.isfinite([excess, left, slope]).all():
        return LogRatio(float("nan"), float("nan"))
    powers = POWERS[:, None, None, None]
    integrand = left + powers * slope
    # To begin with as if the integrand were a line.
    value = float(left.mean() + slope[0].mean() / 6.0 + slope[1].mean() / 3.0)
    for _ in range(NUM_TIMES):
        # A draw of either end is one of both together.
        logs = powers * excess - np.logaddexp(0.0, excess - value)
        logs -= logs.max(axis=(1, 2, 3), keepdims=True)
        weights = np.exp(logs)
        weights /= weights.sum(axis=(1, 2, 3), keepdims=True)
        means = (weights * integrand).sum(axis=(1, 2, 3), keepdims=True)
        value = float(SHARES @ means.ravel())
    added = np.einsum("t,teDc->eDc", SHARES, weights * (integrand - means))
    # By how much of it an error of the value comes back through the weights.
    returned = float((added * expit(excess - value)).sum())
    if np.square(weights).sum(axis=(1, 2, 3)).max() > 1.0 / ENOUGH or returned > MOST_RETURNED:
        return LogRatio(value, float("nan"))
    # Each end has its own noise.
    parts = added * excess[0].size / (1.0 - returned)
    noise = parts[0].var(ddof=1) / parts[0].size + mean_covariance(parts[1][:, None])[0, 0]
    return LogRatio(value, float(np.sqrt(noise)))


def _expand(problem: Problem, mode: Mode, reference: Reference) -> Expansion:
    """Expand each row's part of e about the center of the Gaussian.

    What belongs to the Hermite polynomial of degree k + 1 in e belongs to that of degree k in its derivative,
    and the same over k + 1 in the derivative of g.
    """
    plan, at = problem.plan, mode.at
    effects = apply_lambda(plan, at.lambdas, reference.center)
    eta = problem.offset + problem.X @ at.beta + plan.spread(effects)
    variances = np.maximum(reference.factor.leverages(), 0.0)
    scale = np.sqrt(variances)
    nodes, shares = np.polynomial.hermite_e.hermegauss(NUM_NODES)
    values = np.polynomial.hermite_e.hermevander(nodes, DEGREE)
    found = np.zeros((DEGREE + 1, len(eta)))
    for node, share, value in zip(nodes, shares / shares.sum(), values, strict=True):
        move = node * scale
        slope = problem.rows.slopes(eta + move, at.own).first + reference.weights * move
        found += np.outer(share * value, slope)
    degrees = np.arange(DEGREE + 1)
    found /= factorial(degrees + 1)[:, None]
    in_powers = np.zeros((DEGREE + 1, DEGREE + 1))
    for k in degrees:
        in_powers[: k + 1, k] = np.polynomial.hermite_e.herme2poly(np.eye(DEGREE + 1)[k])[: k + 1]
    with np.errstate(divide="ignore"):
        per_unit = np.where(scale > 0.0, 1.0 / scale, 0.0)
    slopes = in_powers @ found * per_unit ** degrees[:, None]
    beyond = 0.0
    if isinstance(reference.factor, NearFactor):
        kept = sum(np.trace(trace) for trace in reference.factor.inverse_traces())
        beyond = 0.5 * float(plan.num_effects - reference.weights @ variances - kept)
    return Expansion(problem, mode, reference, eta, variances, slopes, beyond)


def _series_at(by: Expansion, moved: Floats) -> Series:
    """At effects that are moved (q, m) from the center of the Gaussian."""
    parts = np.array_split(moved, max(1, moved.shape[1] // AT_ONCE), axis=1)
    with ThreadPoolExecutor(NUM_WORKERS) as pool:
        return Series(*np.hstack(list(pool.map(lambda part: _part(by, part), parts))))


def _part(by: Expansion, moved: Floats) -> Floats:
    """(3, m) a `Series` at effects (q, m)."""
    plan, at, reference = by.problem.plan, by.mode.at, by.reference
    moves = plan.spread(apply_lambda(plan, at.lambdas, moved)).T.copy()
    is_near = isinstance(reference.factor, NearFactor)
    found, pulls = np.empty((3, len(moves))), np.empty((2 + is_near, *moves.shape))
    for number, move in enumerate(moves):
        rows = by.problem.rows.slopes(by.eta + move, at.own)
        slope, bend = _horner(by.slopes, move)
        quadratic = reference.weights * move
        pulls[:2, number] = rows.first + quadratic, slope
        if is_near:
            pulls[2, number] = quadratic
        value = rows.value + 0.5 * float(quadratic @ move)
        found[:2, number] = value, value + float(by.variances @ bend - slope @ move)
    pulled = plan.gather(np.concatenate(pulls).T.copy())
    gradients = apply_lambda(plan, at.lambdas, pulled, transpose=True)
    size = 2 * len(moves)
    found[:2] -= 0.5 * float(reference.center @ reference.center)
    found[0] -= reference.center @ moved
    if isinstance(reference.factor, NearFactor):
        # (P - M) x, in coordinates where P is the identity.
        at_moved = reference.factor.coordinates(moved)
        held = gradients[:, size:] + moved
        found[0] += 0.5 * (np.square(at_moved).sum(axis=0) - np.einsum("qm,qm->m", moved, held))
        found[1] += by.beyond
        sides = gradients[:, :size] - reference.center[:, None] - np.hstack([held, 0.5 * held])
        both = reference.factor.solve_lower(sides) + np.hstack([at_moved, 0.5 * at_moved])
    else:
        both = reference.factor.solve_lower(gradients - reference.center[:, None])
    one, other = np.hsplit(both, 2)
    found[2] = np.einsum("qm,qm->m", one, other)
    return found


def _horner(coefficients: Floats, x: Floats) -> tuple[Floats, Floats]:
    """Polynomials (n,) at x (n,), by coefficients (k, n) of its powers, and their derivatives."""
    value, slope = coefficients[-1].copy(), np.zeros_like(x)
    for coefficient in coefficients[-2::-1]:
        slope *= x
        slope += value
        value *= x
        value += coefficient
    return value, slope
