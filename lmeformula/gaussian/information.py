"""Information matrices of Gaussian models: observed, by differences of the score; average, in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lmeformula.algebra.factor import apply_lambda
from lmeformula.gaussian.likelihood import Solution, Sums, log_likelihood, times_products
from lmeformula.model.params import ParamSpace

Floats = NDArray[np.float64]

# Step of the differences, in log sds: the score is exact to about 1e-10 of the rows' number, and its third
# derivatives are of the order of its second.
DIFFERENCE = 1e-5


def observed_information(
    data: Sums, space: ParamSpace, psi: Floats, free: NDArray[np.bool_]
) -> Floats:
    """(d, d) observed information of psi, by differences of the analytic score.

    Args:
      data: cross products.
      space: parameter space.
      psi: (d,) the maximum; boundary parameters hold a finite stand-in.
      free: (d,) which parameters are inside their boundary; the others get zero rows and columns.
    """
    d, p = space.size, space.num_fixed
    information = np.zeros((d, d))
    _, here, found = log_likelihood(data, space, psi)
    information[:p, :p] = _fixed_information(data, found, space, psi)
    for j in range(p, d):
        if free[j]:
            there = psi.copy()
            there[j] += DIFFERENCE
            column = (here - log_likelihood(data, space, there)[1]) / DIFFERENCE
            information[:, j] = column
            information[j, :p] = column[:p]
    rest = information[p:, p:]
    information[p:, p:] = 0.5 * (rest + rest.T)
    information[~free] = 0.0
    information[:, ~free] = 0.0
    return information


def average_information(data: Sums, space: ParamSpace, psi: Floats, found: Solution) -> Floats:
    """(d, d) average of the observed and the expected information of psi; positive semidefinite.

    Args:
      data: cross products.
      space: parameter space.
      psi: (d,) any parameters.
      found: the least squares problem solved there.
    Returns:
      The information of beta is exact; that of theta and log sigma is r'V^-1 V_i V^-1 V_j V^-1 r / 2,
      with V_i the derivative of V: the derivatives act on the data only. Cross terms with beta, whose
      expectation is zero, are left out.
    References:
      Gilmour, Thompson, Cullis (1995), Biometrics 51, 1440-1450.
    """
    p = space.num_fixed
    sigma = space.residual_sd(psi)
    changes = []
    for term, place, factor in zip(
        space.terms, space.theta_slices, found.factor.lambdas, strict=True
    ):
        slopes = term.structure.cholesky_jacobian(psi[place], len(term.columns)) / sigma
        changes.append(_outer(slopes, factor))
    directions = _directions(data, found, tuple(changes))
    # V_i V^-1 r = Z a for theta; 2 r - Z a, a = 2 Lambda Lambda' Z'V^-1 r, for log sigma
    scale = np.zeros(directions.shape[1])
    if space.estimates_sigma:
        modes = apply_lambda(data.plan, found.factor.lambdas, found.u)
        directions = np.column_stack([directions, -2.0 * modes])
        scale = np.append(scale, 2.0)
    quadratic = _quadratic(data, found, directions)
    along = directions.T @ found.w
    quadratic += np.outer(scale, along) + np.outer(along, scale)
    quadratic += found.rss * np.outer(scale, scale)
    information = np.zeros((space.size, space.size))
    information[:p, :p] = _fixed_information(data, found, space, psi)
    information[p:, p:] = 0.5 * quadratic / sigma**2
    return information


def profile_information(
    data: Sums,
    found: Solution,
    bases: tuple[Floats, ...],
    sigma: float | None,
    reml: bool,
) -> Floats:
    """(t, t) average information of the free elements of Lambda, fixed effects and sigma profiled out.

    Args:
      data: cross products.
      found: the least squares problem solved at its optimal fixed effects.
      bases: (t_j, k, k) directions in which each Lambda_j is free.
      sigma: the residual sd if it is fixed, else None.
      reml: of the restricted likelihood.
    """
    lambdas = found.factor.lambdas
    changes = tuple(_outer(basis, factor) for basis, factor in zip(bases, lambdas, strict=True))
    directions = _directions(data, found, changes)
    information = _quadratic(data, found, directions)
    crossed = found.ZVQ.T @ directions
    if crossed.size:
        information -= crossed.T @ np.linalg.solve(found.information, crossed)
    freedom = data.n - len(data.ols) if reml else data.n
    variance = found.rss / freedom if sigma is None else sigma**2
    information *= 0.5 / variance
    if sigma is None:
        with_scale = 0.5 * directions.T @ found.w / variance
        information -= np.outer(with_scale, with_scale) / (0.5 * freedom)
    return np.asarray(0.5 * (information + information.T))


def _fixed_information(data: Sums, found: Solution, space: ParamSpace, psi: Floats) -> Floats:
    return np.asarray(data.R.T @ found.information @ data.R / space.residual_sd(psi) ** 2)


def _outer(slopes: Floats, factor: Floats) -> Floats:
    """(t, k, k) derivatives of Lambda Lambda' from those of Lambda."""
    half = slopes @ factor.T
    return np.asarray(half + half.transpose(0, 2, 1))


def _directions(data: Sums, found: Solution, changes: tuple[Floats, ...]) -> Floats:
    """(q, t): a_i with V_i V^-1 r = Z a_i, for changes (t_j, k, k) of each Lambda Lambda'."""
    w = data.plan.split(found.w)
    columns = []
    for j, change in enumerate(changes):
        for matrix in change:
            parts = [np.zeros_like(part) for part in w]
            parts[j] = w[j] @ matrix
            columns.append(data.plan.join(tuple(parts)))
    return np.column_stack(columns)


def _quadratic(data: Sums, found: Solution, directions: Floats) -> Floats:
    """(t, t) sigma^2 a'Z'V^-1 Z a."""
    spread = times_products(data, directions)
    half = found.factor.solve_lower(
        apply_lambda(data.plan, found.factor.lambdas, spread, transpose=True)
    )
    return np.asarray(directions.T @ spread - half.T @ half)
