"""Evidence at the end of a fit: the likelihood at the estimates, worked out apart from the optimiser."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate, Claim
from lmeformula.covariance.chart import LinearChart
from lmeformula.estimation.claims import MOST_GAIN, Bound, Evidence, certify
from lmeformula.estimation.coordinates import NO_INFORMATION
from lmeformula.estimation.nearness import nearness
from lmeformula.family.running import Met
from lmeformula.likelihood.ascent import FREEING_CURVATURE
from lmeformula.likelihood.factors import FactorSpace
from lmeformula.likelihood.gaussian.exact import ExactFit
from lmeformula.likelihood.gaussian.from_residuals import EXACTLY, Rows
from lmeformula.likelihood.gaussian.restricted import restricted
from lmeformula.likelihood.gaussian.second_opinion import score, witness_at
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.likelihood.laplace.fit import LaplaceFit, on_faces
from lmeformula.likelihood.laplace.likelihood import EXACT_GAIN, At, approximate
from lmeformula.likelihood.laplace.modes import gradient
from lmeformula.likelihood.laplace.next_term import next_term
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# Two ways to a log-likelihood differ by rounding: of its own size, and of the rows' terms that it sums.
ROUNDING = 1e-10
# Of many effects derivatives on a bound are taken this far from it: so many roundings may be lost over the
# square of that.
NEXT_TO, MOST_LOST = 3e-4, 16.0
# Most of an information that is called rounding.
MOST_ROUNDING = 1e-4
# A covariance on a face has no more than this share of its size in other directions.
OF_LOWER_RANK = 1e-8
# Least difference that is called one.
LEAST_DIFFERENCE = 1e-6


def certify_exact(
    data: Sums,
    model: Model,
    found: ExactFit,
    psi: Floats,
    inside: Mask,
    information: Floats,
    stderr: Floats,
    reml: bool,
    R: Floats,
    bound: Bound | None = None,
    undetermined: Mask | None = None,
) -> Certificate:
    """Examine an exact fit of a Gaussian model.

    Args:
      data: cross products of the design.
      model: what was fitted.
      found: the optimum.
      psi: (d,) the estimates, unconstrained; what is at a bound has a stand-in.
      inside: (d,) which are off their bounds.
      information: (d, d) observed information there.
      stderr: (d,) the reported standard errors.
      reml: of the restricted likelihood.
      R: (p, p) upper triangular, with coefficients R beta that are known alike, and apart.
      bound: sigma's, at zero, where it rests on that.
      undetermined: (t,) parameters of covariances that the design does not tell apart; see `likelihood.alike`.
    Returns:
      The certificate.
    """
    space, charts, elements = model.space, found.charts, found.elements
    inner, lambdas = found.inner, charts.factors(elements)
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
    slopes, expected = score(space, inner.data, witness, psi, inner.factors)
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
    unit = 1.0 if bound is None else data.yy / data.n / space.residual_sd(psi) ** 2
    rows = data.n / unit
    bounds = bounds_of(space, charts, elements, by_factor, pulls, inside, rows, noise * unit)
    return certify(
        Evidence.of(
            model,
            psi,
            inside,
            information,
            R,
            expected=expected,
            undetermined=undetermined,
            gradient=slopes,
            stderr=stderr,
            bounds=bounds if bound is None else (*bounds, bound),
            value=found.loglik,
            second=witness.value,
            allowed=LEAST_DIFFERENCE + ROUNDING * (abs(found.loglik) + data.n),
            way=witness.way,
        )
    )


def certify_perfect(rows: Rows, sigma: float) -> Certificate:
    """Say of a fit that meets its responses exactly that there is nothing to examine.

    Args:
      rows: residuals before there are effects.
      sigma: where the ascent was given up.
    """
    left = sigma * math.sqrt(len(rows.residual)) / rows.size if rows.size > 0.0 else 0.0
    words = (
        f"the model meets the responses exactly, to {left:.0e} of their size: sigma runs to zero and the "
        "likelihood to infinity"
    )
    return Certificate((Claim("residuals", False, left, EXACTLY, ("sigma",), words),))


def certify_met(met: Met) -> Certificate:
    """Say the same of another family, or what else its responses are exactly."""
    words = (
        f"{met.says}, to {met.spread:.0e} of their size: {met.name} runs to its limit and the likelihood to "
        "infinity"
    )
    return Certificate((Claim("residuals", False, met.spread, met.least, (met.name,), words),))


def nothing_to_examine() -> Certificate:
    """Say of a fit whose derivatives cannot be worked out that nothing was proven."""
    words = (
        "derivatives at the estimates are beyond what numbers of this precision tell: sigma is too small a "
        "share of the effects"
    )
    return Certificate((Claim("stationarity", False, math.nan, math.nan, ("sigma",), words),))


def certify_laplace(
    model: Model,
    found: LaplaceFit,
    psi: Floats,
    inside: Mask,
    information: Floats,
    stderr: Floats,
    noise: float,
    undetermined: Mask | None = None,
) -> Certificate:
    """Examine a Laplace fit: the mode of the effects is sought anew, from zero.

    Args:
      model: what was fitted.
      found: the maximum of the approximation.
      psi: (d,) the estimates, unconstrained; what is at a bound has a stand-in.
      inside: (d,) which are off their bounds.
      information: (d, d) observed information there.
      stderr: (d,) the reported standard errors.
      noise: error of the information, relative to its diagonal.
      undetermined: as in `certify_exact`.
    Returns:
      The certificate.
    """
    space, charts, elements = model.space, found.charts, found.elements
    settled = charts.settle(elements)
    lambdas = charts.factors(settled)
    at = At(found.params.beta, lambdas, psi[space.own_slice])
    nowhere = np.zeros(found.problem.plan.num_effects)
    try:
        again = approximate(found.problem, at, nowhere, EXACT_GAIN)
    except np.linalg.LinAlgError:
        # From zero the density overflows; the mode that the fit ended with is a start that does not.
        again = approximate(found.problem, at, found.approximation.mode.u, EXACT_GAIN)
    on_face = not np.array_equal(settled, elements)
    exactly = at._replace(lambdas=charts.factors(elements))
    second = on_faces(found.problem, exactly, again).value if on_face else again.value

    def bounds(place: Floats, slopes: tuple[Floats, ...]) -> tuple[Bound, ...]:
        pulls = charts.pulls(place, slopes)
        return bounds_of(space, charts, elements, slopes, pulls, inside, model.design.n)

    found_bounds = bounds(settled, again.in_factors)
    slope = gradient(space, psi, again)
    with np.errstate(divide="ignore", invalid="ignore"):
        may_rise = (slope**2 > MOST_GAIN * np.diag(information))[inside].any()
    if on_face and (may_rise or any(bound.rise > bound.allowed for bound in found_bounds)):
        # Next to one face, how the likelihood leaves another is off by as much as the place is off that; and
        # how it changes along, where what rests there would go with effects that are large.
        further = elements + 2.0 * (settled - elements)
        there = at._replace(lambdas=charts.factors(further))
        beyond = approximate(found.problem, there, again.mode.u, EXACT_GAIN)
        found_bounds = extrapolated(found_bounds, bounds(further, beyond.in_factors))
        slope = 2.0 * slope - gradient(space, psi, beyond)
    certificate = certify(
        Evidence.of(
            model,
            psi,
            inside,
            information,
            model.triangle,
            undetermined=undetermined,
            gradient=slope,
            noise=noise,
            stderr=stderr,
            bounds=found_bounds,
            value=found.approximation.value,
            second=second,
            allowed=LEAST_DIFFERENCE + ROUNDING * (abs(second) + model.design.n),
            way="the mode that is reached from zero",
        )
    )
    if not found.problem.plan.num_effects:
        return certificate
    return Certificate((*certificate.claims, nearness(next_term(found.problem, again.mode))))


def extrapolated(near: tuple[Bound, ...], far: tuple[Bound, ...]) -> tuple[Bound, ...]:
    """Bounds as they are on the faces themselves, from next to these and from twice as far.

    What the two differ by is allowed for: it is rounding as well, which grows as faces come near.

    Example:
      >>> near, far = Bound(("sd(g)",), 2e-6, 1e-6), Bound(("sd(g)",), 4e-6, 1e-6)
      >>> extrapolated((near,), (far,))
      (Bound(names=('sd(g)',), rise=0.0, allowed=3e-06, noise=0.0),)
    """
    return tuple(
        one._replace(
            rise=2.0 * one.rise - other.rise, allowed=one.allowed + abs(other.rise - one.rise)
        )
        for one, other in zip(near, far, strict=True)
    )


def off_rank(chart: LinearChart, own: Floats, pull: Floats) -> float:
    """Twice the rise on the best way to a covariance of higher rank, by the square of the distance.

    What is in the range of a singular covariance already is no way off: the likelihood is level there.

    Args:
      chart: of an unstructured covariance.
      own: (t,) its elements, on a face.
      pull: (k, k) the derivative in the covariance, times -2.
    """
    back = chart.back
    ways, sizes, _ = np.linalg.svd(np.linalg.solve(back, chart.factor(own)))
    beyond = back @ ways[:, sizes <= OF_LOWER_RANK * sizes[0]]
    return -float(np.linalg.eigvalsh(beyond.T @ pull @ beyond)[0])


def bounds_of(
    space: ParamSpace,
    charts: FactorSpace,
    elements: Floats,
    slopes: tuple[Floats, ...],
    pulls: tuple[Floats, ...],
    inside: Mask,
    num_rows: float,
    noise: float = 0.0,
) -> tuple[Bound, ...]:
    """The faces that covariances rest on, each with the best way off.

    Args:
      space: the parameter space.
      charts: the charts of the factors.
      elements: (t,) of all charts; those that rest on a face do so exactly.
      slopes: (k, k) derivatives of the log-likelihood in each factor.
      pulls: (k, k) the same in each covariance, times -2.
      inside: (d,) which parameters are off their bounds.
      num_rows: the scale of the likelihood.
      noise: rounding of a rise, by row.
    """
    scores = charts.split(charts.pull_back(elements, slopes))
    found = []
    for term, face in charts.faces:
        places = charts.places(term, face)
        if not (elements[places] == charts.at_rest(term, face, elements)[places]).all():
            continue
        chart, own = charts.charts[term], charts.split(elements)[term]
        curvature = chart.escape(face, own, scores[term], slopes[term], pulls[term]).curvature
        if isinstance(chart, LinearChart) and not chart.on_diagonal.all():
            curvature = off_rank(chart, own, pulls[term])
        here = space.theta_slices[term]
        names = np.array(space.names[here], object)[~inside[here]]
        found.append(
            Bound(
                tuple(names) or (space.terms[term].name,),
                curvature / num_rows,
                FREEING_CURVATURE,
                noise,
            )
        )
    return tuple(found)
