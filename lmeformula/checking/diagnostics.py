"""How a fit was come by, how sure it is of its numbers, and where the time went."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.checking.diagnosis import Diagnostics, LaplaceDistance, NamedError
from lmeformula.checking.ending import at_limits, endless, outcome_sentence
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.absent import has_rows
from lmeformula.fit import FittedModel
from lmeformula.history import Sampling
from lmeformula.likelihood.singular import is_singular
from lmeformula.model.orthogonal import terms_kept_far

# Beyond these a reader is told what to do: Vehtari, Gelman, Simpson, Carpenter, Buerkner (2021), Bayesian
# Analysis 16, 667-718, for R-hat, with room for its noise in short chains. Control variates do
# with few draws; from this many of each of two chains a Monte Carlo error is known to a sixth of itself.
HIGH_RHAT = 1.1
FEW_DRAWS = 10
# Where control variates leave no error, chains are of no consequence.
NO_ERROR = 1e-6
# Estimates as correlated as this condition number says lose half of their digits.
HIGH_CONDITION = 1e8


def diagnostics(fit: FittedModel) -> Diagnostics:
    """Collect what is known of how a fit was come by.

    Args:
      fit: a fitted model.
    Returns:
      The record.
    """
    sampling = fit.sampling
    largest = None
    if fit.is_drawn or fit.draws is not None:
        largest = _largest(fit.param_names, fit.param_mc_error / fit.param_stderr)
    condition = _condition(fit.param_vcov)
    singular = singular_terms(fit)
    return Diagnostics(
        outcome=fit.outcome,
        ended=outcome_sentence(fit),
        method=fit.method,
        num_iterations=len(fit.iterations),
        sampling=sampling,
        ascent=fit.ascent,
        distance=_distance(fit),
        largest_error=largest,
        last_step=None if sampling is None else _largest(fit.param_names, sampling.last_step),
        reduction={}
        if sampling is None
        else dict(zip(fit.param_names, map(float, sampling.reduction), strict=True)),
        laplace=_distances(fit),
        endless=endless(fit),
        at_limits=at_limits(fit),
        singular_terms=singular,
        condition=condition,
        stderr_source=stderr_source(fit),
        stderr_error=None
        if fit.param_stderr_error is None
        else _largest(fit.param_names, fit.param_stderr_error / fit.param_stderr),
        seconds=fit.seconds,
        advice=(
            *fit.model.design.given.happened,
            *_of_origins(fit),
            *_advice(sampling, largest, singular, condition),
        ),
        certificate=fit.certificate,
        origin=fit.model.design.given.origin,
        resumed=fit.resumed,
    )


def _distance(fit: FittedModel) -> float:
    """How far the maximum is by gradient and curvature, where a quadratic describes the likelihood."""
    if fit.ascent is None:
        return math.nan
    if fit.certificate is None:
        return math.sqrt(max(fit.ascent.gain, 0.0)) if fit.outcome.converged else math.nan
    claims = {claim.name: claim for claim in fit.certificate.claims}
    needed = [claims.get(name) for name in ("stationarity", "curvature")]
    if not all(claim is not None and claim.holds for claim in needed):
        return math.nan
    # Half the square of a distance in standard errors is what the log-likelihood rises on the way.
    return math.sqrt(max(2.0 * claims["stationarity"].figure, 0.0))


def stderr_source(fit: FittedModel) -> str:
    """What the standard errors are from, as the end of a sentence.

    Args:
      fit: a fitted model.
    """
    if fit.information == "monte carlo":
        return "the observed information, estimated from the draws"
    if fit.information == "posterior":
        return "the draws: their standard deviations"
    if fit.information == "laplace" and fit.has_priors:
        return "the second derivative of the posterior density, by Laplace's approximation"
    if fit.information == "laplace":
        return "the second derivative of the Laplace approximation"
    if fit.has_priors:
        return "the observed information of the posterior density"
    likelihood = "restricted likelihood" if fit.reml else "likelihood"
    return f"the observed information of the {likelihood}"


def _largest(names: tuple[str, ...], values: Floats) -> NamedError | None:
    sizes = np.abs(values)
    if not np.isfinite(sizes).any():
        return None
    place = int(np.nanargmax(np.where(np.isfinite(sizes), sizes, np.nan)))
    return NamedError(names[place], float(sizes[place]))


def _distances(fit: FittedModel) -> tuple[LaplaceDistance, ...]:
    if fit.laplace_values is None:
        return ()
    gaps = fit.laplace_values - fit.param_values
    with np.errstate(divide="ignore", invalid="ignore"):
        in_stderr, percent = gaps / fit.param_stderr, 100.0 * gaps / np.abs(fit.param_values)
    columns = (fit.laplace_values, fit.param_values, in_stderr, percent)
    rows = zip(*(map(float, column) for column in columns), strict=True)
    return tuple(
        LaplaceDistance(name, *row) for name, row in zip(fit.param_names, rows, strict=True)
    )


def singular_terms(fit: FittedModel) -> tuple[str, ...]:
    """Terms with a singular covariance, on the scale of their columns and relative to the residual sd.

    Without the rows of the fit its columns count as they are.
    """
    found = []
    is_whole = has_rows(fit.model.design)
    sigma = fit.sigma or 1.0
    for term, covariance in zip(fit.model.design.terms, fit.params.covariances, strict=True):
        scale = np.ones(len(term.columns))
        if is_whole:
            scale = np.sqrt(fit.model.design.mean(term.values**2))
        scale = np.where(scale > 0, scale, 1.0) / sigma
        if is_singular(cholesky_semidefinite(covariance * np.outer(scale, scale))):
            found.append(term.name)
    return tuple(found)


def _condition(covariance: Floats) -> float:
    variances = np.diag(covariance)
    inside = np.isfinite(variances) & (variances > 0)
    block = covariance[np.ix_(inside, inside)]
    if not inside.any() or not np.isfinite(block).all():
        return math.nan
    sd = np.sqrt(variances[inside])
    return float(np.linalg.cond(block / np.outer(sd, sd)))


def _of_origins(fit: FittedModel) -> tuple[str, ...]:
    """What may be in the way of a fit that did not come to its end."""
    if fit.outcome.converged or not has_rows(fit.model.design):
        return ()
    return tuple(
        f"Columns of {name} are far from their origin, and its covariance structure holds in these "
        "columns only: take their means off."
        for name in terms_kept_far(fit.model)
    )


def _advice(
    sampling: Sampling | None,
    largest: NamedError | None,
    singular: tuple[str, ...],
    condition: float,
) -> tuple[str, ...]:
    advice = []
    if singular:
        advice.append(
            f"The covariance of {', '.join(singular)} is singular: at a bound are no standard errors, but "
            "profile intervals."
        )
    if condition > HIGH_CONDITION:
        advice.append(
            "Some estimates are nearly functions of each other: center or rescale the columns."
        )
    if sampling is not None and largest is not None and largest.in_stderr > NO_ERROR:
        if sampling.divergences:
            advice.append(
                f"{sampling.divergences:,} transitions diverged: the log density may be infinite near by; "
                "check the scale of the columns."
            )
        # Halves of a few draws differ by chance.
        if sampling.rhat > HIGH_RHAT + 2.0 / sampling.num_draws:
            advice.append(
                f"The chains disagree (split R-hat {sampling.rhat:.3f}): see fit.plot.trace(), and raise "
                "num_draws."
            )
        if sampling.effective < FEW_DRAWS * sampling.num_chains:
            advice.append(
                f"Only {sampling.effective:.0f} effective draws: Monte Carlo errors themselves are rough; "
                "raise num_draws."
            )
    return tuple(advice)
