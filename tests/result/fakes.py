"""Fits with known numbers on a real design, for the tests of results and views."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from lmeformula.design import design
from lmeformula.em.outcome import Outcome
from lmeformula.result.predict import fitted
from lmeformula.result.residuals import residuals

FORMULA = "y ~ x + (x | g) + (1 | h)"
DATA = pd.DataFrame(
    {
        "y": [1.0, 2.5, 2.0, 4.5, 5.0, 6.0],
        "x": np.arange(6.0),
        "g": list("aabbcc"),
        "h": list("uvuvuv"),
    }
)
NAMES = ("Intercept", "x", "sd(g:Intercept)", "sd(g:x)", "cor(g:Intercept,x)", "sd(h)", "sigma")


def fake_fit(formula: str = FORMULA, data: pd.DataFrame = DATA, **changes: Any) -> Any:
    """Six rows, three levels of g, two of h, and every estimate chosen."""
    fields: dict[str, Any] = {
        "model": SimpleNamespace(
            design=design(formula, data),
            family=SimpleNamespace(name="gaussian", link="identity"),
            sigma=None,
        ),
        "method": "exact",
        "params": SimpleNamespace(
            beta=np.array([1.0, 0.9]),
            covariances=(np.array([[0.25, -0.06], [-0.06, 0.04]]), np.array([[0.09]])),
            sigma=0.5,
        ),
        "param_names": NAMES,
        "param_stderr": np.array([0.4, 0.1, 0.2, 0.05, 0.3, 0.15, 0.1]),
        "param_mc_error": np.zeros(7),
        "modes": (np.array([[0.3, -0.1], [-0.2, 0.05], [-0.1, 0.05]]), np.array([[0.1], [-0.1]])),
        "mode_cov": (
            np.array([np.diag([0.04, 0.01])] * 3),
            np.array([[[0.0225]], [[0.0225]]]),
        ),
        "outcome": Outcome.CONVERGED,
        "converged": True,
        "singular": False,
        "loglik": SimpleNamespace(value=-7.25, mc_error=0.0, df=7, nobs=6),
        "aic": 28.5,
        "bic": 27.0424,
        "trace": pd.DataFrame(),
        "watched": None,
    }
    fit = SimpleNamespace(**(fields | changes))
    fit.sigma = fit.params.sigma
    fit.fitted = lambda: fitted(fit)
    fit.residuals = lambda kind="response": residuals(fit, kind)
    return fit


def fake_mcem_fit(num_iterations: int = 9, **changes: Any) -> Any:
    """The same fit as if by Monte Carlo EM: with iterations, Monte Carlo errors and kept draws."""
    exact = fake_fit()
    final = np.array([1.0, 0.9, 0.5, 0.2, -0.6, 0.3, 0.5])
    left = np.append(0.5 ** np.arange(num_iterations - 1), 0.0)
    path = final + np.outer(left, [0.8, -0.5, 0.3, 0.1, 0.4, -0.2, 0.4])
    history = pd.DataFrame(path, columns=list(NAMES))
    history.insert(0, "iteration", np.arange(1, num_iterations + 1))
    history["mc_error"] = 0.2 * 0.7 ** np.arange(num_iterations)
    history["step"] = left
    history["num_draws"] = 100 * 2 ** np.arange(num_iterations)
    history["acceptance"] = 0.8
    history["seconds"] = 0.5
    rng = np.random.default_rng(3)
    watched = SimpleNamespace(
        names=(
            ("g", "a", "Intercept"),
            ("g", "a", "x"),
            ("g", "b", "Intercept"),
            ("h", "u", "Intercept"),
            ("h", "v", "Intercept"),
        ),
        draws=rng.normal([0.3, -0.1, -0.2, 0.1, -0.1], 0.2, size=(200, 5)),
    )
    fields = {
        "method": "mcem",
        "param_mc_error": 0.01 * exact.param_stderr,
        "trace": history,
        "watched": watched,
    }
    return fake_fit(**(fields | changes))
