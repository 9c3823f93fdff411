"""Fits put together by hand, with known numbers, for the tests of results and views."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from lmeformula.design.design import Design, ResponseBlock, TermBlock
from lmeformula.formula import ir
from lmeformula.result.predict import fitted
from lmeformula.result.residuals import residuals


def formula(text: str) -> ir.Formula:
    return ir.Formula(None, ir.FixedPart(ir.TermSum(True, ())), (), text=text)


def term(
    name: str, columns: dict[str, np.ndarray], index: list[int], levels: str, covariance: str = "us"
) -> TermBlock:
    return TermBlock(
        covariance=covariance,
        name=name,
        columns=tuple(columns),
        values=np.column_stack(list(columns.values())).astype(float),
        group=name,
        factors=(name,),
        levels=tuple(levels),
        index=np.array(index, dtype=np.int32),
    )


def design(X: dict[str, Any], y: list[float], terms: tuple[TermBlock, ...], text: str) -> Design:
    n = len(y)
    return Design(
        formula=formula(text),
        response=ResponseBlock("y", "numeric", np.array(y, dtype=float)),
        X=np.column_stack([np.asarray(v, float) for v in X.values()]),
        names=tuple(X),
        terms=terms,
        offset=np.zeros(n),
        weights=None,
        rows=np.arange(n),
    )


def fake_fit(covariance: str = "us", **changes: Any) -> Any:
    """Six rows, `y ~ x + (1 + x | g) + (1 | h)`: three levels of g, two of h, every number chosen."""
    x = np.arange(6.0)
    one = np.ones(6)
    g = term("g", {"Intercept": one, "x": x}, [0, 0, 1, 1, 2, 2], "abc", covariance)
    h = term("h", {"Intercept": one}, [0, 1, 0, 1, 0, 1], "uv")
    y = [1.0, 2.5, 2.0, 4.5, 5.0, 6.0]
    model = SimpleNamespace(
        design=design({"Intercept": one, "x": x}, y, (g, h), "y ~ x + (x | g) + (1 | h)"),
        family=SimpleNamespace(name="gaussian", link="identity"),
        sigma=None,
    )
    names = ("Intercept", "x", "sd(g:Intercept)", "sd(g:x)", "cor(g:Intercept,x)", "sd(h)", "sigma")
    fields: dict[str, Any] = {
        "model": model,
        "method": "exact",
        "params": SimpleNamespace(
            beta=np.array([1.0, 0.9]),
            covariances=(np.array([[0.25, -0.06], [-0.06, 0.04]]), np.array([[0.09]])),
            sigma=0.5,
        ),
        "param_names": names,
        "param_stderr": np.array([0.4, 0.1, 0.2, 0.05, 0.3, 0.15, 0.1]),
        "param_mc_error": np.zeros(7),
        "modes": (np.array([[0.3, -0.1], [-0.2, 0.05], [-0.1, 0.05]]), np.array([[0.1], [-0.1]])),
        "mode_cov": (
            np.array([np.diag([0.04, 0.01])] * 3),
            np.array([[[0.0225]], [[0.0225]]]),
        ),
        "outcome": SimpleNamespace(name="CONVERGED", value="The gradient is zero."),
        "singular": False,
        "loglik": SimpleNamespace(value=-7.25, mc_error=0.0, df=7, nobs=6),
        "aic": 28.5,
        "bic": 27.0424,
        "converged": True,
        "trace": pd.DataFrame(),
        "watched": None,
    }
    fit = SimpleNamespace(**(fields | changes))
    fit.sigma = fit.params.sigma
    fit.fitted = lambda: fitted(fit)
    fit.residuals = lambda kind="response": residuals(fit, kind)
    return fit


def fake_mcem_fit(num_iterations: int = 9, num_watched: int = 5, **changes: Any) -> Any:
    """The same fit as if by Monte Carlo EM: with iterations, Monte Carlo errors and kept draws."""
    rng = np.random.default_rng(3)
    final = np.array([1.0, 0.9, 0.5, 0.2, -0.6, 0.3, 0.5])
    shrink = 0.5 ** np.arange(num_iterations)
    shrink[-1] = 0.0
    path = final + np.outer(shrink, np.array([0.8, -0.5, 0.3, 0.1, 0.4, -0.2, 0.4]))
    exact = fake_fit()
    history = pd.DataFrame(path, columns=list(exact.param_names))
    history.insert(0, "iteration", np.arange(1, num_iterations + 1))
    history["mc_error"] = 0.2 * 0.7 ** np.arange(num_iterations)
    history["step"] = shrink
    history["num_draws"] = 100 * 2 ** np.arange(num_iterations)
    history["acceptance"] = 0.8
    history["seconds"] = np.arange(1, num_iterations + 1) * 0.5
    watched = SimpleNamespace(
        names=(
            ("g", "a", "Intercept"),
            ("g", "a", "x"),
            ("g", "b", "Intercept"),
            ("h", "u", "Intercept"),
            ("h", "v", "Intercept"),
        )[:num_watched],
        draws=rng.normal([0.3, -0.1, -0.2, 0.1, -0.1], 0.2, size=(200, 5))[:, :num_watched],
    )
    fields = {
        "method": "mcem",
        "param_mc_error": 0.01 * exact.param_stderr,
        "trace": history,
        "watched": watched,
    }
    return fake_fit(**(fields | changes))
