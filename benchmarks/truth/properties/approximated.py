"""Laplace fits against the dense approximation, others against the integral: value, maximum, information."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import optimize

from truth.densities import FAMILIES, from_free, kinds, to_free
from truth.differences import gradient, hessian, suited
from truth.held import SAME_LOGLIK, Finding, Held, by_term, fitted, largest
from truth.integral import AGREES, Integral
from truth.laplace import Laplace
from truth.matrices import complete
from truth.normal import coordinates
from truth.properties.estimates import honest
from truth.properties.information import Reported, compared
from truth.working import Working


def rows_of(held: Held) -> tuple[np.ndarray, np.ndarray]:
    """(n,) response and trials of the rows used."""
    rows = complete(held.data, held.spec)
    y = rows["y"].to_numpy(float)
    return y, rows["t"].to_numpy(float) if "trials" in held.spec.response else np.ones(len(y))


def own_of(held: Held) -> np.ndarray:
    """The family's own parameters, as they are reported."""
    return held.fit.param_values[held.num_fixed + held.theta_size :]


class NotKnown(Exception):
    """The judge has no value of its own here."""


def matrices_of(held: Held) -> list[np.ndarray]:
    """The covariances at the reported estimates."""
    return [
        each.matrix(np.nan_to_num(mine))
        for each, mine in zip(held.shapes, by_term(held.theta, held.shapes), strict=True)
    ]


def dense_of(held: Held, agrees: float = AGREES) -> Laplace | Integral:
    """The dense counterpart of a fit's likelihood, ready for where that ended.

    Args:
      held: the case.
      agrees: how well an integral is known.
    Raises:
      NotKnown: where no number of nodes settles.
    """
    way = Integral if held.spec.method == "quadrature" else Laplace
    found = way(held.parts, FAMILIES[held.spec.family], *rows_of(held))
    if isinstance(found, Integral):
        at = np.asarray(held.fit.fixef), matrices_of(held), own_of(held)
        if not found.settle(*at, agrees):
            raise NotKnown
    return found


def likelihood(held: Held) -> Iterator[Finding]:
    """The log-likelihood is that of the dense approximation at the estimates."""
    is_said = not held.fit.converged and not np.isfinite(held.fit.loglik.value)
    if is_said or not np.isfinite(own_of(held)).all():
        return
    value = dense_of(held).at(np.asarray(held.fit.fixef), matrices_of(held), own_of(held))
    if not np.isfinite(value):
        return
    off = abs(held.fit.loglik.value - value) / (1e-6 * max(1.0, abs(value)))
    yield Finding("log-likelihood", off, f"{held.fit.loglik.value!r}, dense {value!r}")


def effects(held: Held) -> Iterator[Finding]:
    """Effects are their means and sds given the data."""
    fit = held.fit
    if not np.isfinite(own_of(held)).all() or not np.isfinite(fit.loglik.value):
        return
    dense = dense_of(held)
    assert isinstance(dense, Integral)
    found = dense.posterior(np.asarray(fit.fixef), matrices_of(held), own_of(held))
    reported = fit.ranef()
    rows, start = fit.model.design.rows, 0
    for place, (term, means, sds) in enumerate(
        zip(held.parts.effects, found.means, found.sds, strict=True)
    ):
        size = means.size
        mine = reported.iloc[start : start + size]
        start += size
        # Levels of the judge are in order of appearance, those of a fit in its design's.
        index, order = fit.model.design.terms[place].index, np.zeros(term.levels, int)
        order[np.asarray(index)] = term.index
        values = mine["value"].to_numpy(float).reshape(means.shape)
        errors = mine["sd"].to_numpy(float).reshape(means.shape)
        scale = np.maximum(sds[order], 1e-9)
        yield Finding(
            "means of effects",
            largest((values - means[order]) / scale) / 1e-4,
            f"{values.ravel()[:4]}, {means[order].ravel()[:4]} of {len(rows)} rows",
        )
        yield Finding(
            "sds of effects",
            largest((errors - sds[order]) / scale) / 1e-4,
            f"{errors.ravel()[:4]}, {sds[order].ravel()[:4]}",
        )


def errors(held: Held) -> Iterator[Finding]:
    """Standard errors are from the Hessian of the dense approximation, and exist inside of the boundaries."""
    fit = held.fit
    if not fit.converged:
        return
    yield from honest(held)
    p, size, own = held.num_fixed, held.theta_size, own_of(held)
    stderr = fit.param_stderr
    working = Working(held.shapes, held.theta, np.isfinite(stderr[p : p + size]))
    free_own = np.isfinite(stderr[p + size :])
    if not working.is_simple or not np.isfinite(working.start).all() or not np.isfinite(own).all():
        return
    at_limit = unnamed_limits(held)
    yield Finding(
        "limits are named",
        np.inf if at_limit else 0.0,
        f"{at_limit} at its limit, {own} +- {stderr[p + size :]}, and {fit.outcome.name}",
    )
    if at_limit:
        return
    kind = kinds(FAMILIES[held.spec.family], len(own))
    start_own = np.array([to_free(k, v) for k, v in zip(kind, own, strict=True)])
    at = np.concatenate([np.asarray(fit.fixef), working.start, start_own[free_own]])
    end = p + len(working.start)
    dense = dense_of(held)

    def back(here: np.ndarray) -> np.ndarray:
        moved = np.array(own)
        moved[free_own] = [
            from_free(k, v) for k, v in zip(np.array(kind)[free_own], here, strict=True)
        ]
        return moved

    # Columns with large means are nearly copies of the intercept: steps are taken along orthogonal ones.
    R = np.linalg.qr(held.parts.X, mode="r")
    back_to_beta = np.linalg.inv(R)
    at[:p] = R @ at[:p]

    def value(here: np.ndarray) -> float:
        return dense.at(back_to_beta @ here[:p], working.matrices(here[p:end]), back(here[end:]))

    steps = np.concatenate(
        [0.03 * np.sqrt(np.diag(R @ fit.fixed_vcov @ R.T)), np.full(len(at) - p, 0.015)]
    )
    is_threshold = np.array([k == "threshold" for k in kind], bool)[free_own]
    steps[end:][is_threshold] = 0.03 * stderr[p + size :][free_own][is_threshold]
    if not ((steps > 0) & np.isfinite(steps)).all():
        return
    jacobian = np.eye(len(at))
    jacobian[:p, :p] = back_to_beta
    if end > p:
        moved = gradient(working.report, working.start, np.full(end - p, 1e-3)).T
        jacobian[p:end, p:end] = moved[working.free]
    for i, (k, v) in enumerate(zip(np.array(kind)[free_own], at[end:], strict=True)):
        step = 1e-4
        jacobian[end + i, end + i] = (from_free(k, v + step) - from_free(k, v - step)) / (2 * step)
    kept = np.concatenate([np.ones(p, bool), working.free, free_own])

    ways = np.diag(steps)
    if any(_nearly_copies(term.values) for term in held.parts.effects):
        ways = ways @ suited(lambda ahead: value(at + steps * ahead), np.zeros(len(at)), 1.0)
    jacobian, nowhere = jacobian @ ways, np.zeros(len(at))

    def along(ahead: np.ndarray) -> float:
        return value(at + ways @ ahead)

    def measure(share: float) -> tuple[np.ndarray, np.ndarray]:
        sizes = np.full(len(at), share)
        return gradient(along, nowhere, sizes), -hessian(along, nowhere, sizes)

    names = np.array(fit.param_names)[kept]
    yield from compared(measure, Reported(stderr[kept], names, jacobian, 0, 5e-3))


def _nearly_copies(columns: np.ndarray) -> bool:
    """Whether some column is nearly a combination of others, as one far from zero is of a constant."""
    return columns.shape[1] > 1 and np.linalg.cond(columns / np.linalg.norm(columns, axis=0)) > 30.0


def unnamed_limits(held: Held) -> list[str]:
    """Parameters of the family that ran to a limit, where the outcome does not say so."""
    fit, own = held.fit, own_of(held)
    kind = kinds(FAMILIES[held.spec.family], len(own))
    names = fit.param_names[len(fit.param_names) - len(own) :]
    errors = fit.param_stderr[len(fit.param_names) - len(own) :]
    if fit.outcome.name == "BOUNDARY":
        return []
    found = []
    for name, each, value, error in zip(names, kind, own, errors, strict=True):
        runs_off = each in ("positive", "above one") and (value > 1e6 or error > 100.0 * value)
        if runs_off or (each == "chance" and min(value, 1.0 - value) < 1e-6):
            found.append(name)
    return found


def other_starts(held: Held) -> Iterator[Finding]:
    """No other start finds more; what has a maximum is not left as stalled."""
    fit, p, own = held.fit, held.num_fixed, own_of(held)
    if not np.isfinite(own).all():
        return
    dense, chart = dense_of(held, 0.01 * SAME_LOGLIK), coordinates(held.parts)
    kind = kinds(FAMILIES[held.spec.family], len(own))
    start_own = np.array([to_free(k, v) for k, v in zip(kind, own, strict=True)])
    scale = np.where(np.isfinite(fit.stderr), np.asarray(fit.stderr), 1.0)
    units = np.minimum(scale, 10.0)
    ordered = kind[:1] == ("threshold",)
    start_own = np.clip(start_own, -6.0, 6.0) if not ordered else start_own
    start = np.concatenate(
        [
            held.rng.normal(size=p),
            chart.random(held.rng, at_zero=bool(held.rng.uniform() < 0.5)),
            np.zeros(len(own)) if ordered else 0.5 * held.rng.normal(size=len(own)),
        ]
    )
    end = p + chart.size

    def downhill(at: np.ndarray) -> float:
        moved = start_own + at[end:]
        if ordered and (np.diff(moved) <= 0).any():
            return 1e10
        natural = np.array([from_free(k, v) for k, v in zip(kind, moved, strict=True)])
        found = dense.at(np.asarray(fit.fixef) + units * at[:p], chart.matrices(at[p:end]), natural)
        return -found if np.isfinite(found) else 1e10

    def slope(at: np.ndarray) -> np.ndarray:
        units = 1e-4 * np.eye(len(at))
        return np.array([(downhill(at + e) - downhill(at - e)) / 2e-4 for e in units])

    found = optimize.minimize(
        downhill, start, jac=slope, method="L-BFGS-B", options={"maxiter": 60, "ftol": 1e-11}
    )
    if found.fun > 1e9:
        return
    ahead = -float(found.fun) - fit.loglik.value
    best = [np.round(matrix, 5).tolist() for matrix in chart.matrices(found.x[p:end])]
    words = f"log-likelihood {fit.loglik.value:.6f}, from another start {-found.fun:.6f} at {best}"
    if fit.converged:
        yield Finding("no start finds more", ahead / SAME_LOGLIK, words)
    elif fit.outcome.name in ("OPTIMIZER_STALLED", "NONFINITE", "ITERATIONS_EXHAUSTED"):
        # Towards a limit at infinity every start finds a little more: what is inside was there to be found.
        inside = np.abs(found.x[:p]).max(initial=0.0) < 10.0 and ahead > 0.1 * SAME_LOGLIK
        yield Finding(
            "a maximum is found", np.inf if inside else 0.0, f"{fit.outcome.name}: {words}"
        )


def as_logarithms(held: Held) -> Iterator[Finding]:
    """A lognormal model by Laplace is the Gaussian one of the logarithms, exactly."""
    if held.spec.family != "lognormal" or not held.fit.converged:
        return
    fit = held.fit
    data = held.data.assign(y=np.log(held.data["y"]))
    other = fitted(data, held.spec.but(family="gaussian", method="exact"))
    if not other.converged:
        return
    right = other.loglik.value - float(data["y"].to_numpy()[other.model.design.rows].sum())
    off = abs(fit.loglik.value - right) / SAME_LOGLIK
    yield Finding("exact of the logarithms", off, f"{fit.loglik.value:.7f}, exact {right:.7f}")
    known = (fit.param_stderr > 0) & (other.param_stderr > 0)
    away = largest(((fit.param_values - other.param_values) / (0.02 * other.param_stderr))[known])
    yield Finding(
        "exact of the logarithms, parameters", away, f"{fit.param_values}, {other.param_values}"
    )
