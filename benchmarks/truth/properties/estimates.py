"""Exact fits of Gaussian models against the dense likelihood: value, maximum, information."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

import lmeformula as lf
from truth.differences import gradient, hessian, suited
from truth.held import SAME_LOGLIK, Finding, Held, by_term, fitted, largest
from truth.matrices import singular_values, spanning
from truth.normal import Normal, climb, coordinates
from truth.properties.information import Reported, compared, scaled
from truth.working import Working, at_boundary

STEP = 0.02
# Below this scaled eigenvalue of the information there may be no maximum to speak of.
WITHOUT = 1e-6
# What the log-likelihood changes by over a step of one half of a logarithm in a direction without information.
FLAT = 1e-9


def named_columns(held: Held) -> Iterator[Finding]:
    """The columns are what their names say, of full rank, and span what the formula says."""
    design, parts = held.fit.model.design, held.parts
    size = np.maximum(1.0, np.abs(parts.X))
    if design.X.shape != parts.X.shape:
        yield Finding("columns", np.inf, f"{design.X.shape} for {parts.X.shape}")
        return
    yield Finding("columns", largest((design.X - parts.X) / size) / 1e-9, "X is not as named")
    for term, mine in zip(design.terms, parts.effects, strict=True):
        off = largest((term.values - mine.values) / np.maximum(1.0, np.abs(mine.values)))
        yield Finding("columns", off / 1e-9, f"columns of {term.name} are not as named")
    span = spanning(held.data, held.spec)
    mine = parts.X
    if held.spec.family.startswith("cumulative"):
        mine = np.column_stack([np.ones(parts.n), mine])  # thresholds stand for the intercept
    ranks = [_rank(singular_values(columns)) for columns in (mine, span, np.hstack([mine, span]))]
    if None not in ranks:
        right = ranks[1]
        wrong = mine.shape[1] != right or ranks[0] != right or ranks[2] != right
        words = f"{mine.shape[1]} columns of rank {ranks[0]}, the formula spans {right}"
        yield Finding("span", np.inf if wrong else 0.0, words)


def _rank(values: np.ndarray) -> int | None:
    """How many singular values are not zero; None where that is a matter of taste."""
    if values.size == 0:
        return 0
    share = values / values[0]
    if ((share > 1e-11) & (share < 1e-5)).any():
        return None
    return int((share > 1e-8).sum())


def likelihood(held: Held) -> Iterator[Finding]:
    """The log-likelihood is that of the dense covariance at the estimates."""
    model, fit = Normal(held.parts, held.spec.reml), held.fit
    if fit.sigma < 1e-5 * np.std(model.rest):
        return  # a perfect fit: V is singular to a computer, and no density has a value
    value = dense_loglik(held, model)
    tolerance = 1e-6 * max(1.0, abs(value)) + model.rounding(_matrices(held), float(fit.sigma))
    yield Finding(
        "log-likelihood",
        abs(fit.loglik.value - value) / tolerance,
        f"{fit.loglik.value!r}, dense {value!r}",
    )


def dense_loglik(held: Held, model: Normal) -> float:
    """The dense log-likelihood at the reported estimates."""
    fit, sigma = held.fit, float(held.fit.sigma)
    matrices = _matrices(held)
    if held.spec.reml:
        return model.profile(matrices, sigma)
    return model.at(np.asarray(fit.fixef), matrices, sigma).value


def _matrices(held: Held) -> list[np.ndarray]:
    return [
        each.matrix(np.nan_to_num(mine))
        for each, mine in zip(held.shapes, by_term(held.theta, held.shapes), strict=True)
    ]


def other_starts(held: Held, number: int = 2) -> Iterator[Finding]:
    """No other start finds more; what has a maximum is not left as stalled."""
    fit, model = held.fit, Normal(held.parts, held.spec.reml)
    chart = coordinates(held.parts)
    best, where = -np.inf, np.zeros(chart.size)
    for turn in range(number):
        start = chart.random(held.rng, at_zero=turn % 2 == 1)
        value, at = climb(model, held.spec.sigma, start)
        if value > best:
            best, where = value, at
    if not np.isfinite(best):
        return
    ahead = best - fit.loglik.value
    found = [np.round(chart_matrix, 6).tolist() for chart_matrix in chart.matrices(where)]
    words = (
        f"log-likelihood {fit.loglik.value:.6f}, from another start {best:.6f} at {found} sigma^2"
    )
    if fit.converged:
        yield Finding("no start finds more", ahead / SAME_LOGLIK, words)
    elif fit.outcome.name in ("OPTIMIZER_STALLED", "NONFINITE", "ITERATIONS_EXHAUSTED"):
        # What is flat there has been said to be so; what rises was there to be found.
        size = np.inf if ahead > 0.1 * SAME_LOGLIK else 0.0
        yield Finding("a maximum is found", size, f"{fit.outcome.name}: {words}")


def errors(held: Held) -> Iterator[Finding]:
    """Standard errors are from the Hessian of the dense likelihood, and exist inside of the boundaries."""
    fit = held.fit
    if not fit.converged:
        return
    stderr = fit.param_stderr
    yield from honest(held)
    p, size = held.num_fixed, held.theta_size
    working = Working(held.shapes, held.theta, np.isfinite(stderr[p : p + size]))
    if not working.is_simple or not np.isfinite(working.start).all():
        return
    # A sigma that is said to be at its limit, zero, is held next to it, as covariances on a bound are.
    with_sigma = held.spec.sigma is None and not (at_limit(fit) and np.isnan(stderr[-1]))
    at = np.append(working.start, np.log(fit.sigma)) if with_sigma else working.start
    if not len(at):
        return
    end = p + len(working.start)
    jacobian = np.eye(p + len(at))
    if end > p:
        moved = gradient(working.report, working.start, np.full(end - p, 1e-3)).T
        jacobian[p:end, p:end] = moved[working.free]
    if with_sigma:
        jacobian[-1, -1] = fit.sigma
    of_sigma = np.full(int(held.spec.sigma is None), with_sigma)
    kept = np.concatenate([np.ones(p, bool), working.free, of_sigma])
    ways = suited(_profile(held, working), at, STEP)
    jacobian[:, p:] = jacobian[:, p:] @ ways
    score, information = _derivatives(held, working, at, ways, 1.0)
    unit = scaled(information)
    if np.linalg.eigvalsh(unit)[0] < WITHOUT:
        direction = np.linalg.eigh(unit)[1][p:, 0]
        along = ways @ (direction / np.sqrt(np.maximum(np.abs(np.diag(information)[p:]), 1e-300)))
        if largest(direction) > 0.1:  # and not a column of X that is nearly a copy of others
            yield _determined(held, working, at, along / largest(along))
        return

    def measure(share: float) -> tuple[np.ndarray, np.ndarray]:
        if share == 1.0:
            return score, information
        return _derivatives(held, working, at, ways, share)

    # The fixed effects' errors are from their own block, as lme4 has them.
    names = np.array(fit.param_names)[kept]
    yield from compared(measure, Reported(stderr[kept], names, jacobian, p, 2e-3))


def _determined(held: Held, working: Working, at: np.ndarray, along: np.ndarray) -> Finding:
    """Whether the likelihood changes at all in the direction in which differences see least."""
    profile, size = _profile(held, working), len(working.start)
    ends = [profile(at + step * along) for step in (-0.5, 0.0, 0.5)]
    is_flat = np.ptp(ends) < FLAT * max(1.0, abs(ends[1]))
    names = np.array(held.fit.param_names[held.num_fixed :])
    # A sigma that is given has no name, and one at its limit no place.
    free = np.append(working.free, np.full(len(names) - len(working.free), len(at) > size))
    concerned = names[free][np.abs(along) > 0.1].tolist()
    return Finding(
        "what converged is determined",
        np.inf if is_flat else 0.0,
        f"the likelihood is flat along {concerned}",
    )


def _profile(held: Held, working: Working) -> Callable[[np.ndarray], float]:
    """The log-likelihood of covariance parameters and log sigma, the fixed effects at their best."""
    model, size = Normal(held.parts, held.spec.reml), len(working.start)

    def profile(here: np.ndarray) -> float:
        sigma = float(held.fit.sigma) if size == len(here) else float(np.exp(here[-1]))
        return model.profile(working.matrices(here[:size]), sigma)

    return profile


def honest(held: Held) -> Iterator[Finding]:
    """A converged fit has a standard error for each parameter that is not at a boundary, and none is zero."""
    fit, p = held.fit, held.num_fixed
    if not fit.converged:
        return
    missing = ~(fit.param_stderr > 0)
    excused = np.zeros(len(missing), bool)
    start = p
    for each, term, mine in zip(
        held.shapes, held.parts.effects, by_term(held.theta, held.shapes), strict=True
    ):
        size = np.sqrt((term.values**2).mean(axis=0))
        units = held.spread / np.where(size > 0, size, 1.0)
        excused[start : start + each.size] = at_boundary(each, mine, units)
        start += each.size
    excused[start:] = at_limit(fit)
    wrong = [fit.param_names[i] for i in np.flatnonzero(missing & ~excused)]
    yield Finding("errors exist", np.inf if wrong else 0.0, f"none for {wrong}")


def at_limit(fit) -> bool:
    """Whether the family's own parameters are at a named boundary."""
    return fit.outcome.name == "BOUNDARY"


def _derivatives(
    held: Held, working: Working, at: np.ndarray, ways: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Score and information of beta, and of free covariance parameters and log sigma as at + ways moved.

    Args:
      held, working: the case.
      at: (t,) where.
      ways: (t, t).
      share: step of the differences in `moved`.
    """
    fit, p = held.fit, held.num_fixed
    model = Normal(held.parts, held.spec.reml)
    size = len(working.start)

    def place(here: np.ndarray) -> tuple[list[np.ndarray], float]:
        sigma = float(fit.sigma) if size == len(here) else float(np.exp(here[-1]))
        return working.matrices(here[:size]), sigma

    nowhere, steps = np.zeros(len(at)), np.full(len(at), share)
    matrices, sigma = place(at)

    def moved(ahead: np.ndarray) -> np.ndarray:
        return at + ways @ ahead

    if held.spec.reml:

        def restricted(ahead: np.ndarray) -> float:
            return model.profile(*place(moved(ahead)))

        information = np.zeros((p + len(at), p + len(at)))
        information[:p, :p] = model.least_squares(matrices, sigma)
        information[p:, p:] = -hessian(restricted, nowhere, steps)
        return np.append(np.zeros(p), gradient(restricted, nowhere, steps)), information
    beta = np.asarray(fit.fixef)
    here = model.at(beta, matrices, sigma)
    score = lambda ahead: model.at(beta, *place(moved(ahead))).score  # noqa: E731
    value = lambda ahead: model.at(beta, *place(moved(ahead))).value  # noqa: E731
    cross = -gradient(score, nowhere, steps)
    inner = -hessian(value, nowhere, steps)
    information = np.block([[here.information, cross.T], [cross, inner]])
    return np.append(here.score, gradient(value, nowhere, steps)), information


def by_blocks(held: Held) -> Iterator[Finding]:
    """Few effects, which are done densely, by the blocks that many take."""
    from unittest import mock

    import lmeformula.likelihood.gaussian.sums as small

    with mock.patch.object(small, "dense_products", return_value=None):
        other = fitted(held.data, held.spec)
    fit = held.fit
    if not (fit.converged and other.converged):
        same = fit.outcome is other.outcome or _within_rounding(fit, other)
        words = f"{fit.outcome.name}, by blocks {other.outcome.name}"
        yield Finding("by blocks, outcome", 0.0 if same else np.inf, words)
        return
    off = abs(fit.loglik.value - other.loglik.value)
    yield Finding(
        "by blocks",
        off / SAME_LOGLIK,
        f"log-likelihood {fit.loglik.value:.7f}, by blocks {other.loglik.value:.7f}",
    )
    both = (fit.param_stderr > 0) & (other.param_stderr > 0)
    ratio = (other.param_stderr / fit.param_stderr - 1.0)[both]
    yield Finding(
        "by blocks, errors", largest(ratio) / 0.02, f"{fit.param_stderr}, {other.param_stderr}"
    )


def _within_rounding(fit: lf.Fit, other: lf.Fit) -> bool:
    """Whether one finds so little information that the other, at the same maximum, states it cannot tell."""
    if abs(fit.loglik.value - other.loglik.value) > SAME_LOGLIK:
        return False
    clear, blurred = (fit, other) if fit.converged else (other, fit)
    if not clear.converged or blurred.outcome is not lf.Outcome.UNIDENTIFIED:
        return False
    return clear.certificate["curvature"].figure < blurred.certificate["curvature"].bound


def by_conjugate_gradients(held: Held) -> Iterator[Finding]:
    """The iterative solver comes to the same within its Monte Carlo errors."""
    if held.spec.reml or not held.fit.converged or held.spec.sigma is not None:
        return
    try:
        other = fitted(held.data, held.spec, solver="iterative")
    except lf.LmeFormulaError:
        return
    fit = held.fit
    if not other.converged:
        return
    inside = (fit.param_stderr > 0) & (other.param_stderr > 0)
    error = np.sqrt(other.param_mc_error**2 + (1e-2 * fit.param_stderr) ** 2)
    off = largest(((other.param_values - fit.param_values) / error)[inside])
    yield Finding(
        "iterative solver", off / 5.0, f"{fit.param_values}, iterative {other.param_values}"
    )
