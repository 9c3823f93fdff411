"""Evidence at the end of Monte Carlo fits: the exact likelihood where there is one, else what the draws say."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate, Claim
from lmeformula.em.types import Problem, Solution
from lmeformula.estimation.certify import LEAST_DIFFERENCE, ROUNDING
from lmeformula.estimation.claims import RARE, Bound, Evidence, certify
from lmeformula.estimation.monte_carlo import Facts
from lmeformula.history import LogLik
from lmeformula.likelihood.gaussian.second_opinion import score, witness_at
from lmeformula.likelihood.gaussian.sums import Sums
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace

# Error of a reported covariance by draws, relative to its diagonal.
DRAWN_NOISE = 1e-4
# Split R-hat up to which chains agree, and the share of it that few draws add by chance.
HIGHEST_RHAT = 1.05
CHANCE_OF_RHAT = 2.0
# Where control variates leave no error, chains are of no consequence.
NO_ERROR = 1e-6


def certify_sampled_gaussian(
    data: Sums,
    model: Model,
    psi: Floats,
    inside: Mask,
    information: Floats,
    mc_covariance: Floats,
    stderr: Floats,
    loglik: float,
    undetermined: Mask | None = None,
) -> Certificate:
    """Examine a Monte Carlo fit of a Gaussian model by its exact likelihood.

    Args:
      data: cross products of the design.
      model: what was fitted.
      psi: (d,) the estimates; what is held at a bound has a stand-in.
      inside: (d,) what is not held.
      information: (d, d) observed information there.
      mc_covariance: (d, d) Monte Carlo covariance of psi.
      stderr: (d,) the reported standard errors.
      loglik: the reported log-likelihood.
      undetermined: (t,) parameters of covariances that the design does not tell apart; see `likelihood.alike`.
    Returns:
      The certificate.
    """
    space = model.space
    sigma = space.residual_sd(psi)
    lambdas = tuple(factor / sigma for factor in space.factors(psi))
    witness = witness_at(data, space.to_natural(psi), lambdas, False)
    gradient, expected = score(space, data, witness, psi)
    bounds = []
    for term, where, factor, pull in zip(
        space.terms, space.theta_slices, lambdas, witness.in_relative, strict=True
    ):
        names = tuple(np.array(space.names[where], object)[~inside[where]])
        if names:
            # The steepest way to more covariance, among those that have least of it.
            values, vectors = np.linalg.eigh(factor @ factor.T)
            small = vectors[:, values <= max(values[0], 1e-4 * values[-1])]
            steepest = float(np.linalg.eigvalsh(small.T @ pull @ small)[-1])
            noise = np.sqrt(0.5 * len(term.columns) * term.num_levels)
            found = Bound(names, steepest / max(noise, 1.0), 1e-3)
            bounds.append(found)
    return certify(
        Evidence.of(
            model,
            psi,
            inside,
            information,
            data.R,
            expected=expected,
            undetermined=undetermined,
            gradient=gradient,
            scatter=information @ mc_covariance @ information,
            stderr=stderr,
            bounds=tuple(bounds),
            value=loglik,
            second=witness.value,
            allowed=LEAST_DIFFERENCE + ROUNDING * (abs(loglik) + data.n),
            way=witness.way,
        )
    )


def certify_sampled(
    model: Model,
    problem: Problem,
    facts: Facts,
    tolerance: float,
) -> Certificate:
    """Examine a Monte Carlo fit by what its last draws say.

    Args:
      model: the model.
      problem: that was run.
      facts: what is reported.
      tolerance: that was asked for.
    Returns:
      The certificate: stationarity, chains, curvature, boundaries, covariance, log-likelihood.
    """
    solution, inside, vcov, loglik = facts.solution, facts.inside, facts.errors.vcov, facts.loglik
    space, info = model.space, solution.info
    stderr = np.sqrt(np.maximum(np.diag(vcov), 0.0))
    jacobian = space.report_jacobian(solution.params)
    whole = np.zeros_like(vcov)
    use = np.ix_(inside, inside)
    if np.isfinite(vcov[use]).all() and inside.any():
        # What is reported, as an information of psi, whatever the units of the estimates.
        scale = np.where(stderr[inside] > 0.0, stderr[inside], 1.0)
        forward = jacobian[use] / scale[:, None]
        inverse = np.linalg.pinv(vcov[use] / np.outer(scale, scale), hermitian=True)
        whole[use] = forward.T @ inverse @ forward
    bounds: tuple[Bound, ...] = ()
    if info is not None and problem.edges is not None and solution.held:
        bounds = _held(space, problem, solution)
    common = certify(
        Evidence.of(
            model,
            solution.params,
            inside,
            whole,
            model.triangle,
            undetermined=facts.undetermined,
            gradient=np.zeros(space.size),
            noise=DRAWN_NOISE,
            stderr=stderr,
            bounds=bounds,
            value=loglik.value,
        )
    )
    claims = (common[name] for name in ("curvature", "boundaries", "covariance"))
    return Certificate(
        (
            *_of_draws(space.names, solution, stderr, jacobian, tolerance),
            *claims,
            _known_log_likelihood(loglik),
        )
    )


def _of_draws(
    names: tuple[str, ...], solution: Solution, stderr: Floats, jacobian: Floats, tolerance: float
) -> tuple[Claim, Claim]:
    """That the last step led to the maximum, within its error, and that the chains agree."""
    info = solution.info
    if info is None:
        words = "no iteration was finished"
        return _open("stationarity", words), _open("chains", words)
    errors = np.sqrt(np.maximum(np.diag(jacobian @ solution.mc_covariance @ jacobian.T), 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(np.isfinite(stderr) & (stderr > 0.0), errors / stderr, 0.0)
    worst = int(np.argmax(shares))
    # The standard errors reported may differ a little from those that the stop rule knew.
    holds = bool(np.isfinite(shares).all() and shares[worst] <= 2.0 * tolerance)
    still = Claim(
        "stationarity",
        holds,
        float(shares[worst]),
        2.0 * tolerance,
        () if holds else (names[worst],),
        f"at the maximum, within a Monte Carlo error of {shares[worst]:.1e} standard errors at most",
    )
    highest = HIGHEST_RHAT + CHANCE_OF_RHAT / solution.trace[-1].num_draws
    if shares[worst] < NO_ERROR:
        words = "control variates leave no error for chains to disagree by"
        return still, Claim("chains", True, float(info.rhat), math.inf, (), words)
    words = f"split R-hat {info.rhat:.3f}, {info.divergences:,} divergences"
    return still, Claim("chains", bool(info.rhat <= highest), float(info.rhat), highest, (), words)


def _open(name: str, words: str) -> Claim:
    """A claim that could not be examined."""
    return Claim(name, None, math.nan, math.nan, (), words)


def _held(space: ParamSpace, problem: Problem, solution: Solution) -> tuple[Bound, ...]:
    """The edges that are held, by the score of the last draws and its Monte Carlo error."""
    info = solution.info
    assert info is not None
    assert problem.edges is not None
    edges = {edge.name: edge for edge in problem.edges(solution.sampled_at)}
    found = []
    for name, towards, error in info.at_edges:
        names = tuple(np.array(space.names, object)[edges[name].directions.any(axis=1)])
        found.append(Bound(names, -towards, RARE * error + LEAST_DIFFERENCE))
    return tuple(found)


def _known_log_likelihood(loglik: LogLik) -> Claim:
    known = math.isfinite(loglik.value) and math.isfinite(loglik.mc_error)
    words = f"the log-likelihood is known to {loglik.mc_error:.1e}"
    if not known:
        words = "the log-likelihood, or its error, could not be had"
    holds = True if known else None
    return Claim("log-likelihood", holds, loglik.mc_error, math.nan, (), words)
