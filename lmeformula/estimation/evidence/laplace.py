"""Of a Laplace approximation: the mode of the effects is sought anew, from zero."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Claim
from lmeformula.estimation.claims import LEAST_DIFFERENCE, MOST_GAIN, ROUNDING, Bound, Evidence
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.evidence.faces import bounds_of, extrapolated
from lmeformula.likelihood.laplace.ends import on_faces
from lmeformula.likelihood.laplace.fit import LaplaceFit
from lmeformula.likelihood.laplace.likelihood import Mode, approximate
from lmeformula.likelihood.laplace.modes import gradient
from lmeformula.likelihood.laplace.next_term import NextTerm, next_term
from lmeformula.likelihood.laplace.penalised import unpenalised
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature.integral import Integral
from lmeformula.likelihood.quadrature.marginal import Quadrature

# So much of a log-likelihood makes no difference to what is inferred from it, and so much is numerical error.
NEAR, ENOUGH = 0.5, 1e-4


def approximated(
    at: Arrival, found: LaplaceFit, noise: float, *, is_compared: bool = True
) -> Evidence:
    """Where an ascent of the approximation ended.

    Args:
      at: where.
      found: the maximum of the approximation.
      noise: error of the information, relative to its diagonal.
      is_compared: whether it is asked how near an approximation is to the likelihood.
    """
    space, charts, elements = at.model.space, found.charts, found.elements
    settled = charts.settle(elements)
    lambdas = charts.factors(settled)
    there = At(found.params.beta, lambdas, at.psi[space.own_slice])
    nowhere = np.zeros(found.problem.plan.num_effects)
    try:
        again = approximate(found.problem, there, nowhere)
    except np.linalg.LinAlgError:
        # From zero the density overflows; the mode that the fit ended with is a start that does not.
        again = approximate(found.problem, there, found.approximation.mode.u)
    on_face = not np.array_equal(settled, elements)
    exactly = there._replace(lambdas=charts.limits(elements))
    is_beside = on_face or charts.is_held
    second = on_faces(found.problem, exactly, again).value if is_beside else again.value

    def bounds(place: Floats, slopes: tuple[Floats, ...]) -> tuple[Bound, ...]:
        pulls = charts.pulls(place, slopes)
        return bounds_of(
            space, charts, elements, slopes, pulls, at.inside, at.model.design.num_observations
        )

    found_bounds = bounds(settled, again.in_factors)
    slope = gradient(space, at.psi, again)
    with np.errstate(divide="ignore", invalid="ignore"):
        may_rise = (slope**2 > MOST_GAIN * np.diag(at.in_psi))[at.inside].any()
    if on_face and (may_rise or any(bound.rise > bound.allowed for bound in found_bounds)):
        # Next to one face, how the likelihood leaves another is off by as much as the place is off that; and
        # how it changes along, where what rests there would go with effects that are large.
        further = elements + 2.0 * (settled - elements)
        beyond_it = there._replace(lambdas=charts.factors(further))
        beyond = approximate(found.problem, beyond_it, again.mode.u)
        found_bounds = extrapolated(found_bounds, bounds(further, beyond.in_factors))
        slope = 2.0 * slope - gradient(space, at.psi, beyond)
    marginal = unpenalised(found.problem.marginal)
    is_near = marginal.method == "exact" or not (is_compared or marginal.is_exact)
    is_claimed = found.problem.plan.num_effects and not is_near
    return Evidence.of(
        at,
        gradient=slope,
        noise=noise,
        bounds=found_bounds,
        second=second,
        allowed=LEAST_DIFFERENCE + ROUNDING * (abs(second) + at.model.design.num_observations),
        way="the mode that is reached from zero",
        further=(_integrated(found, again.mode),) if is_claimed else (),
    )


def _integrated(found: LaplaceFit, mode: Mode) -> Claim:
    """What is claimed of how effects were integrated out."""
    marginal = unpenalised(found.problem.marginal)
    if isinstance(marginal, Quadrature):
        return settled(marginal.integral(found.problem, mode))
    # Effects of levels that are related are not drawn.
    return nearness(next_term(found.problem, mode, NEAR), not found.problem.plan.is_general)


def settled(integral: Integral) -> Claim:
    """What the nodes of quadrature say of the log-likelihood: by how much more of them would move it."""
    words = f"more nodes would move the log-likelihood by about {integral.error:.0e}"
    return Claim("integration", integral.error <= ENOUGH, integral.error, ENOUGH, (), words)


def nearness(term: NextTerm, can_be_drawn: bool = True) -> Claim:
    """What the next term of Laplace's series says of the approximation: near, or open how near.

    Example:
      >>> nearness(NextTerm(0.03, 0.01)).holds, nearness(NextTerm(22.0, 1.3)).holds
      (True, None)
    """
    away = f"{term.value:+.2g} (± {term.error:.1g})"
    words = f"the next term of its series takes the log-likelihood {away} away from Laplace's"
    if abs(term.value) + term.error <= NEAR:
        return Claim("approximation", True, abs(term.value), NEAR, (), words)
    if not math.isfinite(term.value):
        words = "the density is not finite over all that Laplace's approximation covers"
    words += "; method='mcem' is free of that" if can_be_drawn else ""
    return Claim("approximation", None, abs(term.value), NEAR, (), words)
