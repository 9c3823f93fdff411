"""Small fits with effects by Student's t distribution, and quadrature over it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy import stats
from scipy.special import log_expit, logsumexp

import lmeformula as lf
from lmeformula.estimation.student_maximum import maximise, student_range
from lmeformula.sampling.student_problem import StudentModel
from lmeformula.sampling.student_quadrature import student_likelihood

HEAVY = '(1 | gr(g, dist = "student"))'
# u = sinh(t): even steps in t reach far into the tails of a t distribution.
NODES = np.linspace(-30.0, 30.0, 12001)
EFFECTS, WIDTHS = np.sinh(NODES), np.cosh(NODES) * (NODES[1] - NODES[0])


def t_shares(df: float) -> np.ndarray:
    """Chances of `EFFECTS` under a t distribution."""
    shares = stats.t(df).pdf(EFFECTS) * WIDTHS
    return shares / shares.sum()


def table(groups: int = 12, rows: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    g, x = np.repeat(np.arange(groups), rows), rng.normal(size=groups * rows)
    u = rng.standard_t(3.0, groups)
    eta = 0.3 + 0.5 * x + u[g]
    return {
        "g": g,
        "h": np.arange(len(g)) % 5,
        "x": x,
        "y": eta + 0.8 * rng.normal(size=len(g)),
        "yes": (eta + rng.logistic(size=len(g)) > 0).astype(int),
        "count": rng.poisson(np.exp(0.5 * eta)),
        "grade": 1 + np.digitize(eta + rng.logistic(size=len(g)), [-1.0, 1.0]),
    }


@cache
def plain(formula: str, family: str, groups: int = 12) -> lf.Fit:
    """The same with Gaussian effects: exact, or by the Laplace approximation."""
    method = "exact" if family == "gaussian" else "laplace"
    return lf.fit(formula, table(groups), family, method=method)


@cache
def at(
    response: str, family: str, df: float, scale: float = 1.0, more: str = "", groups: int = 12
) -> lf.Fit:
    """A fit with these parameters of its t effects; all other numbers are those of Gaussian ones."""
    fit = plain(f"{response} ~ x + (1 | g){more}", family, groups)
    model = lf.compile(lf.design(f"{response} ~ x + {HEAVY}{more}", table(groups)), family)
    others = len(fit.params.covariances) - 1
    params = fit.params._replace(
        covariances=(np.array([[scale**2]]), *fit.params.covariances[1:]),
        freedom=(df, *(np.inf,) * others),
    )
    values = model.space.to_report(model.space.to_free(params))
    place = fit.model.space.num_fixed + 1
    vcov = np.insert(np.insert(fit.param_vcov, place, 0.0, axis=0), place, 0.0, axis=1)
    return replace(
        fit,
        model=model,
        params=params,
        method="mcem",
        param_names=model.space.names,
        param_values=values,
        param_stderr=np.sqrt(np.maximum(np.diag(vcov), 0.0)),
        param_vcov=vcov,
        param_mc_error=np.zeros(len(values)),
    )


@cache
def best(response: str, family: str, groups: int) -> lf.Fit:
    """A fit at the maximum of the likelihood, by quadrature."""
    fit = at(response, family, 4.0, groups=groups)
    likelihood = student_likelihood(StudentModel(fit.model))
    assert likelihood is not None
    space = fit.model.space
    top = maximise(
        likelihood, space.to_free(fit.params), np.full(space.size, 0.2), student_range(fit)
    )
    assert top.converged
    return replace(
        fit,
        params=space.to_natural(top.psi),
        param_values=space.to_report(top.psi),
        loglik=fit.loglik._replace(value=top.value),
    )


def log_likelihood(fit: lf.Fit, values: np.ndarray) -> float:
    """Of a normal or Bernoulli response at reported values, by the trapezoidal rule over each level's t."""
    design, nodes = fit.model.design, slice(4000, 8001, 4)
    effects, widths = EFFECTS[nodes], 4.0 * WIDTHS[nodes]
    eta = (design.X @ values[:2])[:, None] + values[2] * effects
    if fit.model.family.is_normal:
        logs = stats.norm(eta, values[4]).logpdf(design.y[:, None])
    else:
        logs = log_expit(np.where(design.y[:, None] == 1.0, eta, -eta))
    whole = np.zeros((len(design.terms[0].levels), len(effects)))
    np.add.at(whole, design.terms[0].index, logs)
    prior = stats.norm if np.isinf(values[3]) else stats.t(values[3])
    return float(logsumexp(whole + prior.logpdf(effects) + np.log(widths), axis=1).sum())


def known(fit: lf.Fit) -> lf.Fit:
    """The fit, its fixed effects and own parameters taken as known."""
    size, p = len(fit.param_values), len(fit.params.beta)
    return replace(fit, fixed_vcov=np.zeros((p, p)), param_vcov=np.zeros((size, size)))
