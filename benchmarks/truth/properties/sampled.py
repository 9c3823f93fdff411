"""Monte Carlo fits against quadrature, and Gaussian ones against exact fits, within their own errors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import minimize

import lmeformula as lf
from truth.densities import FAMILIES, from_free, kinds, to_free
from truth.differences import gradient, hessian
from truth.held import Finding, Held, fitted, largest
from truth.properties.approximated import own_of, rows_of
from truth.quadrature import Quadrature

# How many Monte Carlo errors an estimate may be away: one in 1.7 million is, of normal ones.
FIVE = 5.0
# What quadrature and the last Newton step leave, in standard errors.
LEFT = 2e-3
# Standard deviations at which a likelihood that has no maximum keeps rising.
RISING = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def _has_estimates(fit: lf.Fit) -> bool:
    """Whether a fit has estimates with errors to be held to: those of one whose draws ran out are larger."""
    is_told = fit.outcome is lf.Outcome.DRAWS_EXHAUSTED and np.isfinite(fit.param_stderr).all()
    return fit.converged or bool(is_told)


def against_truth(held: Held) -> Iterator[Finding]:
    """Estimates, standard errors and log-likelihood by the deterministic way, within the errors reported."""
    if held.spec.family == "gaussian":
        yield from _against_exact(held)
    elif len(held.spec.random) == 1:
        yield from _against_quadrature(held)


def same_bits(held: Held) -> Iterator[Finding]:
    """The same call gives the same bits."""
    again = fitted(held.data, held.spec)
    same = np.array_equal(again.param_values, held.fit.param_values, equal_nan=True)
    same &= again.loglik == held.fit.loglik
    yield Finding("same bits", 0.0 if same else np.inf, "a second call differs")


def _against_exact(held: Held) -> Iterator[Finding]:
    fit, exact = held.fit, fitted(held.data, held.spec.but(method="exact"))
    if not (_has_estimates(fit) and exact.converged):
        yield Finding("mcem converges", np.inf if exact.converged else 0.0, fit.outcome.name)
        return
    held_here, held_there = ~(fit.param_stderr > 0), ~(exact.param_stderr > 0)
    zero = exact.param_values < 1e-2 * exact.sigma
    wrong = (held_here != held_there) & ~(zero & (fit.param_values < 0.05 * exact.sigma))
    yield Finding(
        "boundaries by mcem",
        np.inf if wrong.any() else 0.0,
        f"{fit.param_values}, exact {exact.param_values}",
    )
    both = ~held_here & ~held_there
    yield from _compared(held, both, exact.param_values, exact.param_stderr)
    off = abs(fit.loglik.value - exact.loglik.value)
    room = FIVE * fit.loglik.mc_error + 1e-3
    yield Finding(
        "log-likelihood by mcem", off / room, f"{fit.loglik}, exact {exact.loglik.value:.6f}"
    )


def _against_quadrature(held: Held) -> Iterator[Finding]:
    fit, p = held.fit, held.num_fixed
    diverged = fit.outcome.name == "DIVERGED"
    if not (_has_estimates(fit) or diverged):
        if fit.outcome.name not in ("SEPARATION", "UNIDENTIFIED"):
            yield Finding("mcem converges", np.inf, fit.outcome.name)
        return
    own, stderr = own_of(held), fit.param_stderr
    kind = kinds(FAMILIES[held.spec.family], len(own))
    model = Quadrature(held.parts, FAMILIES[held.spec.family], *rows_of(held))
    if not np.isfinite(own).all():
        return
    sd = float(held.theta[0])
    free_own = np.array([to_free(k, v) for k, v in zip(kind, own, strict=True)])

    def value(at: np.ndarray) -> float:
        natural = np.array([from_free(k, v) for k, v in zip(kind, at[p + 1 :], strict=True)])
        return model.at(at[:p], abs(float(at[p])), natural)

    at = np.concatenate([np.asarray(fit.fixef), [sd], free_own])
    if diverged:
        profile = _profile(value, at, p)
        words = f"at sds {RISING} at most {profile.round(4)}"
        highest = int(np.argmax(profile)) == len(RISING) - 1
        yield Finding("mcem diverges without a maximum", 0.0 if highest else np.inf, words)
        return
    reached = value(at)
    room = FIVE * fit.loglik.mc_error + 1e-3
    yield Finding(
        "log-likelihood by mcem",
        abs(fit.loglik.value - reached) / room,
        f"{fit.loglik.value:.5f} ± {fit.loglik.mc_error:.2g}, quadrature {reached:.5f}",
    )
    if not np.isfinite(stderr[p]):
        # Held at zero: the likelihood must not rise in the variance there.
        rise = [value(np.concatenate([at[:p], [s], at[p + 1 :]])) for s in (0.0, 0.05, 0.1)]
        best = max(_best_inside(value, at, p), *rise)
        yield Finding(
            "zero by mcem", (best - rise[0]) / 1e-2, f"sd 0: {rise[0]:.5f}, inside {best:.5f}"
        )
        return
    if not np.isfinite(stderr).all():
        return
    steps = 0.05 * stderr
    steps[p + 1 :] = 0.05 if kind[:1] != ("threshold",) else steps[p + 1 :]
    steps[p] = min(steps[p], 0.2 * sd)
    for _ in range(4):
        information = -hessian(value, at, steps)
        if not np.isfinite(information).all() or np.linalg.eigvalsh(information)[0] <= 0:
            return
        step = np.linalg.solve(information, gradient(value, at, steps))
        at = at + step
        if largest(step / stderr) < 1e-4:
            break
    else:
        return
    jacobian = np.ones(len(at))
    for i, (k, v) in enumerate(zip(kind, at[p + 1 :], strict=True)):
        jacobian[p + 1 + i] = (from_free(k, v + 1e-4) - from_free(k, v - 1e-4)) / 2e-4
    natural = [from_free(k, v) for k, v in zip(kind, at[p + 1 :], strict=True)]
    right = np.concatenate([at[: p + 1], natural])
    right[p] = abs(right[p])
    errors = np.sqrt(np.diag(np.linalg.inv(information))) * jacobian
    yield from _compared(held, np.ones(len(at), bool), right, errors)


def _profile(value, at: np.ndarray, p: int) -> np.ndarray:
    """The highest log-likelihood at each standard deviation of RISING, over all else."""
    others, found = np.zeros(len(at) - 1), []
    for sd in RISING:

        def fall(free: np.ndarray, sd: float = sd) -> float:
            reached = value(np.concatenate([free[:p], [sd], free[p:]]))
            return -reached if np.isfinite(reached) else 1e300

        best = minimize(fall, others, method="Nelder-Mead", options={"maxiter": 2000})
        others = best.x
        found.append(-best.fun)
    return np.array(found)


def _best_inside(value, at: np.ndarray, p: int) -> float:
    """The highest log-likelihood on a line of standard deviations, the rest as they are."""
    return max(value(np.concatenate([at[:p], [s], at[p + 1 :]])) for s in np.geomspace(0.2, 3.0, 6))


def _compared(
    held: Held, inside: np.ndarray, right: np.ndarray, errors: np.ndarray
) -> Iterator[Finding]:
    fit = held.fit
    off = (fit.param_values - right)[inside]
    room = FIVE * fit.param_mc_error[inside] + LEFT * errors[inside]
    words = f"{fit.param_values} ± {fit.param_mc_error}, right {right}"
    yield Finding("estimates by mcem", largest(off / room), words)
    # Never as far as a tenth of a standard error, whatever the error says.
    yield Finding("estimates by mcem, in errors", largest(off / (0.1 * errors[inside])), words)
    known = fit.param_stderr_error
    spread = np.zeros(len(right)) if known is None else np.nan_to_num(known)
    # What is left of an estimate moves the error of a standard deviation by as large a share as itself.
    moved, sds = np.zeros(len(right)), slice(held.num_fixed, held.num_fixed + held.theta_size)
    moved[sds] = errors[sds] * LEFT * errors[sds] / np.maximum(np.abs(right[sds]), 1e-12)
    room = FIVE * spread[inside] + 0.02 * errors[inside] + np.nan_to_num(moved[inside])
    off = (fit.param_stderr - errors)[inside]
    found = f"{fit.param_stderr} ± {known}, right {errors}"
    yield Finding("errors by mcem", largest(off / room), found)
    # The report adds these up: their mean square is one where errors are calibrated.
    sharp = inside & (fit.param_mc_error > 2.0 * LEFT * errors)
    for z in ((fit.param_values - right) / fit.param_mc_error)[sharp]:
        yield Finding("z by mcem", abs(float(z)) / 10.0, words)
