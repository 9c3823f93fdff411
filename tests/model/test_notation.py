"""Names in code and the notation of families."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lmeformula.model.notation import family_notation, identifiers, names_of
from lmeformula.model.symbols import symbolic_model


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["a:b", "a_b", "a.b"], ("a_b", "a_b_2", "a_b_3")),
        (["year of birth", "log(y)", "s/n"], ("year_of_birth", "log_y", "s_n")),
        (
            ["class", "lambda", "name", "seed", "value"],
            ("class_", "lambda_", "name_", "seed_", "value_"),
        ),
        (["2nd", "???", "größe"], ("x2nd", "x", "größe")),
        (["y", "y"], ("y", "y_2")),
    ],
)
def test_identifiers(labels, names):
    assert identifiers(labels) == names


def test_names_of_a_design(designs):
    names = names_of(designs["slope only"])
    assert names.terms == ("g", "g_1")
    assert (names.response, names.effects) == ("y", ("intercept", "effect_x"))
    assert names_of(designs["cbind"]).response == "cbind_s_f"
    assert symbolic_model(designs["three columns"]).columns == ("x", "z")


@pytest.mark.parametrize(
    ("name", "family", "distribution", "link"),
    [
        ("crossed", "gaussian", "Normal", ""),
        ("logical", "bernoulli", "Bernoulli", "logit"),
        ("logical", "binomial", "Bernoulli", "logit"),
        ("trials", "binomial", "Binomial", "logit"),
        ("proportions", "binomial", "Binomial", "logit"),
        ("cbind", "binomial", "Binomial", "logit"),
        ("counts", SimpleNamespace(name="poisson", link="log"), "Poisson", "log"),
        ("logical", SimpleNamespace(name="bernoulli", link="probit"), "Bernoulli", "probit"),
        (
            "counts",
            SimpleNamespace(name="negative_binomial", link="log"),
            "NegativeBinomial",
            "log",
        ),
    ],
)
def test_family_notation(designs, name, family, distribution, link):
    found = family_notation(family, designs[name])
    assert (found.distribution, found.link) == (distribution, link)
