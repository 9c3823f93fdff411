"""Of Gaussian models, whose likelihood is exact: its derivatives, by other algebra than the optimiser's."""

from __future__ import annotations

import numpy as np

from lmeformula.algebra.precision import Exact
from lmeformula.arrays import Floats
from lmeformula.estimation.claims import LEAST_DIFFERENCE, ROUNDING, Bound, Evidence
from lmeformula.estimation.coordinates import NO_INFORMATION, Arrival
from lmeformula.estimation.evidence.faces import bounds_of
from lmeformula.likelihood.gaussian.exact import ExactFit
from lmeformula.likelihood.gaussian.likelihood import relative_factors
from lmeformula.likelihood.gaussian.restricted import restricted
from lmeformula.likelihood.gaussian.second_opinion import Witness, score, witness_at
from lmeformula.likelihood.gaussian.sums import Sums

# Of many effects derivatives on a bound are taken this far from it: so many roundings may be lost over the
# square of that.
NEXT_TO, MOST_LOST = 3e-4, 16.0
# Most of an information that is called rounding.
MOST_ROUNDING = 1e-4
# Of parameters that draws led to: a rise off a bound that is allowed, and covariances that are least there, as
# a share of the largest.
RISE_AT_DRAWN, LEAST_COVARIANCE = 1e-3, 1e-4


def at_summit(
    at: Arrival, data: Sums, found: ExactFit[Exact], reml: bool, bound: Bound | None = None
) -> Evidence:
    """Where an ascent ended.

    Args:
      at: where.
      data: cross products of the design.
      found: the optimum.
      reml: of the restricted likelihood.
      bound: sigma's, at zero, where it rests on that.
    """
    space, charts, elements = at.model.space, found.charts, found.elements
    inner, lambdas = found.inner, charts.limits(elements)
    near = charts.settle(elements, NEXT_TO)
    settled = inner.factors(charts.factors(near)) if (near != elements).any() else None
    lambdas = inner.factors(lambdas)
    witness = witness_at(inner.data, found.params, lambdas, reml, settled, found.solution)
    contrasts = restricted(inner.data) if reml else None
    if contrasts is not None:
        # Without fixed effects, the restricted likelihood has its digits; theirs is their least squares.
        alone = witness_at(contrasts, found.params._replace(beta=np.zeros(0)), lambdas, False)
        witness = alone._replace(in_beta=witness.in_beta)
    noise = 0.0
    if data.dense is None and settled is not None:
        lambdas, noise = settled, MOST_LOST * np.finfo(float).eps / NEXT_TO**2
    slopes, expected = score(space, inner.data, witness, at.psi, inner.factors)
    by_factor = inner.slopes(
        tuple(
            2.0 * pull @ factor for pull, factor in zip(witness.in_relative, lambdas, strict=True)
        )
    )
    pulls = inner.pulls(tuple(-2.0 * pull for pull in witness.in_relative))
    # Where effects are large beside sigma, an information is a small difference of what it would be by itself.
    sizes = zip(inner.data.column_scales(), lambdas, strict=True)
    reach = max(float(np.linalg.norm(scale[:, None] * factor, 2)) for scale, factor in sizes)
    rounding = min(4.0 * np.finfo(float).eps * data.n * reach**2, MOST_ROUNDING)
    expected = expected * max(1.0, rounding / NO_INFORMATION)
    # A rise is by the square of a standard deviation relative to sigma, or where that is at zero, to responses.
    unit = 1.0 if bound is None else data.yy / data.n / space.residual_sd(at.psi) ** 2
    rows = data.n / unit
    bounds = bounds_of(space, charts, elements, by_factor, pulls, at.inside, rows, noise * unit)
    bounds = bounds if bound is None else (*bounds, bound)
    return _of_witness(at, data, witness, slopes, expected, bounds)


def where_drawn(at: Arrival, data: Sums) -> Evidence:
    """Where Monte Carlo EM ended; `data` are cross products of the design."""
    space = at.model.space
    lambdas = relative_factors(space, at.psi)
    witness = witness_at(data, space.to_natural(at.psi), lambdas, False)
    slopes, expected = score(space, data, witness, at.psi)
    bounds = []
    for term, where, factor, pull in zip(
        space.terms, space.theta_slices, lambdas, witness.in_relative, strict=True
    ):
        names = tuple(np.array(space.names[where], object)[~at.inside[where]])
        if names:
            # The steepest way to more covariance, among those that have least of it.
            values, vectors = np.linalg.eigh(factor @ factor.T)
            small = vectors[:, values <= max(values[0], LEAST_COVARIANCE * values[-1])]
            steepest = float(np.linalg.eigvalsh(small.T @ pull @ small)[-1])
            noise = np.sqrt(0.5 * len(term.columns) * term.num_levels)
            bounds.append(Bound(names, steepest / max(noise, 1.0), RISE_AT_DRAWN))
    return _of_witness(at, data, witness, slopes, expected, tuple(bounds), at.scatter)


def _of_witness(
    at: Arrival,
    data: Sums,
    witness: Witness,
    slopes: Floats,
    expected: Floats,
    bounds: tuple[Bound, ...],
    scatter: Floats | None = None,
) -> Evidence:
    return Evidence.of(
        at,
        expected=expected,
        gradient=slopes,
        scatter=scatter,
        bounds=bounds,
        second=witness.value,
        allowed=LEAST_DIFFERENCE + ROUNDING * (abs(at.value) + data.n),
        way=witness.way,
    )
