"""One call and its four stages are the same fit, for every kind of model."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import LmeFormulaError

N, GROUPS = 120, 12


def rows() -> pd.DataFrame:
    random = np.random.default_rng(11)
    g = np.repeat(np.arange(GROUPS), N // GROUPS)
    x = random.normal(size=N)
    eta = 0.4 * x + random.normal(size=GROUPS)[g] + 0.3 * random.normal(size=GROUPS)[g] * x
    noise = random.normal(size=N)
    return pd.DataFrame(
        {
            "y": eta + noise,
            "k": random.poisson(np.exp(0.5 * eta)),
            "l": eta + noise > 0,
            "c": np.array(list("abc"))[np.clip(np.round(eta + noise).astype(int) + 1, 0, 2)],
            "o": np.clip(np.round(eta + noise).astype(int) + 2, 1, 4),
            "n": 5,
            "s": random.binomial(5, 0.5, N),
            "w": 1.0 + np.arange(N) % 3,
            "x": x,
            "f": np.array(list("uv"))[np.arange(N) % 2],
            "h": np.arange(N) % 7,
            "g": g,
        }
    )


class Said(NamedTuple):
    """A model as `lf.fit` is told it.

    Attributes:
      formula: as text, or several.
      family: by name.
      of_design: what the design takes.
      of_model: what the compiler takes.
      options: what the estimation takes.
    """

    formula: Any
    family: str = "gaussian"
    of_design: dict[str, Any] = {}  # noqa: RUF012 - only read
    of_model: dict[str, Any] = {}  # noqa: RUF012 - only read
    options: dict[str, Any] = {}  # noqa: RUF012 - only read


LAPLACE = {"method": "laplace"}
MODELS = {
    "gaussian": Said("y ~ x + (x | g)"),
    "reml": Said("y ~ x + (1 | g)", options={"reml": True}),
    "crossed": Said("y ~ f * x + (1 | g) + (1 | h)"),
    "dot": Said("y ~ . - k - l - c - o - n - s - w - h - g + (1 | g)"),
    "weights, offset, contrasts": Said(
        "y ~ x + f + (1 | g)", of_design={"weights": "w", "offset": "x", "contrasts": {"f": "sum"}}
    ),
    "functions": Said(
        "y ~ twice(x) + (1 | g)", of_design={"functions": {"twice": lambda x: 2 * x}}
    ),
    "known sigma": Said("y ~ x + (1 | g)", of_model={"sigma": 1.0}),
    "structure": Said("y ~ x + diag(x | g)"),
    "linked": Said("y ~ x + (1 |p| g) + (0 + x |p| g)"),
    "scale": Said({"mu": "y ~ x + (1 |p| g)", "sigma": "~ x + (1 |p| g)"}, options=LAPLACE),
    "scale by name": Said(("y ~ x + (1 | g)", "sigma ~ x"), options=LAPLACE),
    "poisson": Said("k ~ x + (1 | g)", "poisson", options=LAPLACE),
    "nbinom2 of two": Said({"mu": "k ~ x + (1 | g)", "shape": "~ f"}, "nbinom2", options=LAPLACE),
    "bernoulli": Said("l ~ x + (1 | g)", "bernoulli(probit)", options=LAPLACE),
    "binomial": Said("s | trials(n) ~ x + (1 | g)", "binomial", options=LAPLACE),
    "cumulative": Said("o ~ x + (1 | g)", "cumulative", options=LAPLACE),
    "categorical": Said("c ~ x + (1 | g)", "categorical", options=LAPLACE),
    "categorical, linked": Said({"mu": "c ~ x + (1 |p| g)"}, "categorical", options=LAPLACE),
    "categorical, a dot": Said(
        {"mu": "c ~ . - y - k - l - o - n - s - w - f - h - g + (1 |p| g)"},
        "categorical",
        options=LAPLACE,
    ),
}


# These start TensorFlow and compile programs of their own.
LONG = ("nbinom2 of two", "scale")
NAMES = [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in MODELS]


@pytest.mark.parametrize("name", NAMES)
def test_one_call_is_its_stages(name: str) -> None:
    said, data = MODELS[name], rows()
    parsed = lf.parse(said.formula)
    model = lf.compile(lf.design(parsed, data, **said.of_design), said.family, **said.of_model)
    stages = lf.estimate(model, **said.options)
    # Alone, a formula of categories is the same with the name of its predictor and without.
    told = [said.formula, parsed]
    if said.family == "categorical" and isinstance(said.formula, dict):
        told += said.formula.values()
    for formula in told:
        whole = lf.fit(
            formula, data, said.family, **said.of_design, **said.of_model, **said.options
        )
        assert whole.param_names == stages.param_names
        assert whole.formula == stages.formula
        assert whole.outcome is stages.outcome
        np.testing.assert_array_equal(whole.param_values, stages.param_values)
        np.testing.assert_array_equal(whole.param_stderr, stages.param_stderr)
        assert whole.loglik == stages.loglik
    again = lf.Formula.from_dict(parsed.to_dict())
    assert again == parsed


@pytest.mark.parametrize("family", ["gaussian", "poisson"])
def test_a_label_that_links_nothing_is_refused_by_all(family: str) -> None:
    response = {"gaussian": "y", "poisson": "k"}[family]
    formula, data = f"{response} ~ x + (1 |p| g)", rows()
    refused = (
        lambda: lf.parse(formula),
        lambda: lf.fit(formula, data, family),
        lambda: lf.compile(lf.design(lf.parse({"mu": formula}), data), family),
    )
    for call in refused:
        with pytest.raises(LmeFormulaError, match="'p' links nothing") as found:
            call()
        assert found.value.code == "E_ID_UNUSED"
