"""Of likelihoods that only draws tell of: what the last of them say."""

from __future__ import annotations

import math

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.certificate import Claim
from lmeformula.em.schedule import NO_ERROR, highest_rhat
from lmeformula.em.types import Problem, Solution
from lmeformula.estimation.claims import LEAST_DIFFERENCE, RARE, Bound, Evidence
from lmeformula.estimation.coordinates import Arrival
from lmeformula.estimation.monte_carlo import Facts
from lmeformula.history import LogLik

# Error of a reported covariance by draws, relative to its diagonal.
DRAWN_NOISE = 1e-4


def by_draws(at: Arrival, facts: Facts, problem: Problem, tolerance: float) -> Evidence:
    """Where Monte Carlo EM ended.

    Args:
      at: where; its information is not read.
      facts: what the draws say.
      problem: that was run.
      tolerance: that was asked for.
    """
    space, inside = at.model.space, at.inside
    solution, vcov, loglik = facts.solution, facts.errors.vcov, facts.loglik
    stderr = np.sqrt(np.maximum(np.diag(vcov), 0.0))
    jacobian = space.report_jacobian(at.psi)
    whole = np.zeros_like(vcov)
    use = np.ix_(inside, inside)
    if np.isfinite(vcov[use]).all() and inside.any():
        # What is reported, as an information of psi, whatever the units of the estimates.
        scale = np.where(stderr[inside] > 0.0, stderr[inside], 1.0)
        forward = jacobian[use] / scale[:, None]
        inverse = np.linalg.pinv(vcov[use] / np.outer(scale, scale), hermitian=True)
        whole[use] = forward.T @ inverse @ forward
    still = _of_draws(space.names, solution, stderr, jacobian, tolerance)
    return Evidence.of(
        at._replace(information=whole, stderr=stderr),
        gradient=np.zeros(space.size),
        noise=DRAWN_NOISE,
        bounds=_held(space.names, problem, solution),
        drawn=still,
        further=(_known_log_likelihood(loglik),),
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
    effective = info.effective / solution.excess.shape[1]
    highest = highest_rhat(solution.trace[-1].num_draws, effective)
    if shares[worst] < NO_ERROR:
        words = "control variates leave no error for chains to disagree by"
        return still, Claim("chains", True, float(info.rhat), math.inf, (), words)
    words = f"split R-hat {info.rhat:.3f}, {info.divergences:,} divergences"
    return still, Claim("chains", bool(info.rhat <= highest), float(info.rhat), highest, (), words)


def _open(name: str, words: str) -> Claim:
    """A claim that could not be examined."""
    return Claim(name, None, math.nan, math.nan, (), words)


def _held(names: tuple[str, ...], problem: Problem, solution: Solution) -> tuple[Bound, ...]:
    """The edges that are held, by the score of the last draws and its Monte Carlo error."""
    info = solution.info
    if info is None or problem.edges is None or not solution.held:
        return ()
    edges = {edge.name: edge for edge in problem.edges(solution.sampled_at)}
    found = []
    for name, towards, error in info.at_edges:
        concerned = tuple(np.array(names, object)[edges[name].directions.any(axis=1)])
        found.append(Bound(concerned, -towards, RARE * error + LEAST_DIFFERENCE))
    return tuple(found)


def _known_log_likelihood(loglik: LogLik) -> Claim:
    known = math.isfinite(loglik.value) and math.isfinite(loglik.mc_error)
    words = f"the log-likelihood is known to {loglik.mc_error:.1e}"
    if not known:
        words = "the log-likelihood, or its error, could not be had"
    holds = True if known else None
    return Claim("log-likelihood", holds, loglik.mc_error, math.nan, (), words)
