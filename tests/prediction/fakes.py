"""Fits whose numbers were chosen, on a real model, for the tests of results and views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from lmeformula.design import design
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Iteration
from lmeformula.face import Fit
from lmeformula.family import family as find_family
from lmeformula.history import Ascent, LogLik, Sampling, Seconds, Watched
from lmeformula.model import Model
from lmeformula.model.params import Params, param_space
from tests.simulate import SIGMA

FORMULA = "y ~ x + (x | g) + (1 | h)"
DATA = pd.DataFrame(
    {
        "y": [1.0, 2.5, 2.0, 4.5, 5.0, 6.0, 1.5, 2.0, 2.5, 4.0, 5.5, 5.0],
        "x": np.tile(np.arange(6.0), 2),
        "g": list("aabbcc" * 2),
        "h": list("uv" * 6),
    }
)
NAMES = ("Intercept", "x", "sd(g:Intercept)", "sd(g:x)", "cor(g:Intercept,x)", "sd(h)", "sigma")
VALUES = np.array([1.0, 0.9, 0.5, 0.2, -0.6, 0.3, 0.5])
STDERR = np.array([0.4, 0.1, 0.2, 0.05, 0.3, 0.15, 0.1])


def fake_fit(
    formula: str = FORMULA,
    data: pd.DataFrame = DATA,
    *,
    family: str = "gaussian",
    **changes: Any,
) -> Fit:
    """Twelve rows, three levels of g, two of h, and every estimate chosen."""
    designed = changes.pop("design", None) or design(formula, data)
    space = param_space(designed, SIGMA)
    fields: dict[str, Any] = {
        "model": Model(designed, find_family(family), space),
        "method": "exact",
        "reml": False,
        "params": Params(
            beta=np.array([1.0, 0.9]),
            covariances=(np.array([[0.25, -0.06], [-0.06, 0.04]]), np.array([[0.09]])),
            own=np.array([0.5]),
        ),
        "param_names": NAMES,
        "param_values": VALUES,
        "param_stderr": STDERR,
        "param_vcov": np.diag(STDERR**2),
        "param_mc_error": np.zeros(7),
        "fixed_vcov": np.diag([0.16, 0.01]),
        "modes": (np.array([[0.3, -0.1], [-0.2, 0.05], [-0.1, 0.05]]), np.array([[0.1], [-0.1]])),
        "mode_cov": (
            np.array([np.diag([0.04, 0.01])] * 3),
            np.array([[[0.0225]], [[0.0225]]]),
        ),
        "outcome": Outcome.CONVERGED,
        "singular": False,
        "loglik": LogLik(value=-7.25, mc_error=0.0, df=7, nobs=12),
        "iterations": (),
        "watched": None,
        "seconds": Seconds(0.1, 0.2, 0.5, start=0.15),
        "ascent": Ascent(num_evaluations=6, gain=2e-12),
        "sampling": None,
        "laplace_values": None,
    }
    return Fit(**(fields | changes))


def fake_mcem_fit(num_iterations: int = 9, **changes: Any) -> Fit:
    """The same fit as if by Monte Carlo EM: with iterations, Monte Carlo errors and kept draws."""
    left = np.append(0.5 ** np.arange(num_iterations - 1), 0.0)
    way = np.array([0.8, -0.5, 0.3, 0.1, 0.4, -0.2, 0.4])
    iterations = tuple(
        Iteration(i + 1, VALUES + left[i] * way, left[i], 0.2 * 0.7**i, 100 * 2**i, 0.8, 0.5)
        for i in range(num_iterations)
    )
    names = (
        ("g", "a", "Intercept"),
        ("g", "a", "x"),
        ("g", "b", "Intercept"),
        ("h", "u", "Intercept"),
        ("h", "v", "Intercept"),
    )
    means = [0.3, -0.1, -0.2, 0.1, -0.1]
    fields = {
        "method": "mcem",
        "param_mc_error": 0.01 * STDERR,
        "iterations": iterations,
        "seconds": Seconds(0.1, 2.0, 9.0, 1.5, 0.4, 4.0, 0.8),
        "sampling": Sampling(
            num_chains=2,
            num_draws=25_600,
            acceptance=0.81,
            divergences=0,
            rhat=1.004,
            effective=12_345.0,
            reduction=np.array([240.0, 90.0, 18.0, 8.0, 5.0, 30.0, 12.0]),
            last_step=np.array([0.001, -0.002, 0.004, 0.003, 0.0, -0.001, 0.002]),
        ),
        "laplace_values": VALUES - STDERR * np.array([0.02, 0.01, 0.6, 0.1, 0.0, 0.3, 0.0]),
        "watched": Watched(names, np.random.default_rng(3).normal(means, 0.2, size=(200, 5))),
    }
    return fake_fit(**(fields | changes))
