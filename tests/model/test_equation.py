"""The equation of a model as text and as LaTeX, word for word."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.model.equation import build_equation
from lmeformula.model.scripts import latex_label

# name of the design, family, text
CASES = [
    (
        "crossed",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g_j[i] + h_k[i] + e_i
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
e_i ~ Normal(0, sigma²)       i = 1 … 24
""",
    ),
    (
        "nested",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + batch_j[i] + batch:cask_k[i] + e_i
batch_j      ~ Normal(0, stddev_batch²)         j = 1 … 3
batch:cask_k ~ Normal(0, stddev_batch_cask²)    k = 1 … 6
e_i          ~ Normal(0, sigma²)                i = 1 … 24
""",
    ),
    (
        "slope",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g.Intercept_j[i] + g.x_j[i] · x_i + e_i
(g.Intercept_j, g.x_j) ~ Normal(0, Σ_g)       j = 1 … 5
e_i                    ~ Normal(0, sigma²)    i = 1 … 24
Σ_g = D R D, D = diag(stddev_g), R the 2 × 2 correlation matrix
""",
    ),
    (
        "slope only",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g_j[i] + g.x_j[i] · x_i + e_i
g_j   ~ Normal(0, stddev_g²)      j = 1 … 5
g.x_j ~ Normal(0, stddev_g_1²)    j = 1 … 5
e_i   ~ Normal(0, sigma²)         i = 1 … 24
""",
    ),
    (
        "diagonal",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g.Intercept_j[i] + g.x_j[i] · x_i + e_i
g.Intercept_j ~ Normal(0, stddev_g[0]²)    j = 1 … 5
g.x_j         ~ Normal(0, stddev_g[1]²)    j = 1 … 5
e_i           ~ Normal(0, sigma²)          i = 1 … 24
""",
    ),
    (
        "one variance",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g.Intercept_j[i] + g.x_j[i] · x_i + e_i
g.Intercept_j ~ Normal(0, stddev_g²)    j = 1 … 5
g.x_j         ~ Normal(0, stddev_g²)    j = 1 … 5
e_i           ~ Normal(0, sigma²)       i = 1 … 24
""",
    ),
    (
        "cs, three variances",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g.Intercept_j[i] + g.x_j[i] · x_i + g.z_j[i] · z_i + e_i
(g.Intercept_j, g.x_j, g.z_j) ~ Normal(0, Σ_g)       j = 1 … 5
e_i                           ~ Normal(0, sigma²)    i = 1 … 24
Σ_g = D R D, D = diag(stddev_g), R the 3 × 3 matrix of 1 and, off its diagonal, correlation_g
""",
    ),
    (
        "ar1, one variance",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g.Intercept_j[i] + g.x_j[i] · x_i + g.z_j[i] · z_i + e_i
(g.Intercept_j, g.x_j, g.z_j) ~ Normal(0, Σ_g)       j = 1 … 5
e_i                           ~ Normal(0, sigma²)    i = 1 … 24
Σ_g = stddev_g² R, R the 3 × 3 matrix of correlation_g^|r - s|
""",
    ),
    (
        "weights",
        "gaussian",
        """
y_i = intercept + effect_x · x_i + g_j[i] + h_k[i] + e_i
g_j ~ Normal(0, stddev_g²)             j = 1 … 5
h_k ~ Normal(0, stddev_h²)             k = 1 … 3
e_i ~ Normal(0, sigma² / weights_i)    i = 1 … 24
""",
    ),
    (
        "no fixed effects",
        "gaussian",
        """
y_i = g_j[i] + h_k[i] + e_i
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
e_i ~ Normal(0, sigma²)       i = 1 … 24
""",
    ),
    (
        "counts",
        "poisson",
        """
y_i ~ Poisson(μ_i)    i = 1 … 24
log(μ_i) = intercept + effect_x · x_i + g_j[i] + h_k[i] + offset_i
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
""",
    ),
    (
        "trials",
        "binomial",
        """
y_i ~ Binomial(trials_i, p_i)    i = 1 … 24
logit(p_i) = intercept + effect_x · x_i + g_j[i] + h_k[i]
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
""",
    ),
    (
        "logical",
        SimpleNamespace(name="bernoulli", link="probit"),
        """
y_i ~ Bernoulli(p_i)    i = 1 … 24
probit(p_i) = intercept + effect_x · x_i + g_j[i] + h_k[i]
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
""",
    ),
    (
        "crossed",
        SimpleNamespace(name="student_t", link="identity"),
        """
y_i ~ StudentT(μ_i)    i = 1 … 24
μ_i = intercept + effect_x · x_i + g_j[i] + h_k[i]
g_j ~ Normal(0, stddev_g²)    j = 1 … 5
h_k ~ Normal(0, stddev_h²)    k = 1 … 3
""",
    ),
]


@pytest.mark.parametrize(("name", "family", "text"), CASES, ids=[case[0] for case in CASES])
def test_text(designs, name, family, text):
    equation = build_equation(designs[name], family=family)
    assert equation.text == text.strip()
    assert repr(equation) == equation.text


def test_a_fixed_sigma_is_written_as_its_number(designs):
    equation = build_equation(designs["crossed"], sigma=1.0)
    assert equation.text.splitlines()[-1] == "e_i ~ Normal(0, 1²)           i = 1 … 24"
    assert r"\varepsilon_{i} &\sim \mathcal{N}(0, 1^2)" in equation.latex


def test_long_sums_are_broken_between_summands_and_cut_short(designs):
    names = ("Intercept", *(f"period[T.{i}]" for i in range(29)))
    equation = build_equation(replace(designs["crossed"], names=names, X=np.ones((24, 30))))
    assert (
        equation.text.partition("\ng_j ")[0]
        == """\
y_i = intercept + effect_period_T_0 · period[T.0]_i + effect_period_T_1 · period[T.1]_i +
      effect_period_T_2 · period[T.2]_i + … + effect_period_T_28 · period[T.28]_i + g_j[i] +
      h_k[i] + e_i"""
    )
    assert max(map(len, equation.text.splitlines())) <= 100


def test_latex(designs):
    assert (
        build_equation(designs["slope"]).latex
        == r"""
\begin{aligned}
\text{y}_{i} &= \beta_0 + \beta_{\text{x}}\,\text{x}_{i} + \text{g.Intercept}_{j[i]} + \text{g.x}_{j[i]}\,\text{x}_{i} + \varepsilon_{i} \\
(\text{g.Intercept}_{j}, \text{g.x}_{j}) &\sim \mathcal{N}(0, \Sigma_{\text{g}}), \quad j = 1, \dots, 5 \\
\varepsilon_{i} &\sim \mathcal{N}(0, \sigma^2), \quad i = 1, \dots, 24 \\
\Sigma_{\text{g}} &= D R D, \quad D = \operatorname{diag}(\sigma_{\text{g}}), \quad R \text{ the } 2 \times 2 \text{ correlation matrix}
\end{aligned}
""".strip()  # noqa: E501
    )
    counts = build_equation(designs["counts"], family="poisson")
    assert counts.latex.splitlines()[1:3] == [
        r"\text{y}_{i} &\sim \operatorname{Poisson}(\mu_{i}), \quad i = 1, \dots, 24 \\",
        r"\log(\mu_{i}) &= \beta_0 + \beta_{\text{x}}\,\text{x}_{i} + \text{g}_{j[i]} "
        r"+ \text{h}_{k[i]} + \text{offset}_{i} \\",
    ]
    assert counts._repr_latex_() == f"$$\n{counts.latex}\n$$"


@pytest.mark.parametrize(
    ("label", "latex"),
    [
        ("service", r"\text{service}"),
        ("a:b[T.2]", r"\text{a:b[T.2]}"),
        ("x_1", r"{\text{x}\_\text{1}}"),
        ("I(x^2)", r"{\text{I(x}{}^{\wedge}\text{2)}}"),
        ("50%", r"{\text{50}\%}"),
        ("a\\b{c}$", r"{\text{a}\backslash \text{b}\{\text{c}\}\$}"),
    ],
)
def test_special_characters_of_labels_are_escaped_in_latex(label, latex):
    assert latex_label(label) == latex


def test_latex_of_awkward_names_is_balanced(designs):
    response = replace(designs["crossed"].response, name="log(y_1 + 10%)")
    design = replace(designs["crossed"], names=("Intercept", "a_{b}^2"), response=response)
    latex = build_equation(design).latex
    bare = re.sub(r"\\[{}]", "", latex)
    assert bare.count("{") == bare.count("}")
    outside = re.sub(r"\\[_%^#&$]", "", latex)
    assert "%" not in outside


def test_every_grouping_factor_has_its_own_letter(designs, make_term, make_design):
    index = designs["crossed"].terms[0].index
    groups = [make_term(f"factor{number}", index) for number in range(14)]
    lines = build_equation(make_design(groups)).text.splitlines()
    letters = [line.rpartition("    ")[2].split(" ")[0] for line in lines if "stddev_" in line]
    assert len(letters) == len(set(letters)) == 14
    assert not {"i", "n", "p"} & set(letters)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("cs, one variance", r"\Sigma_{\text{g}} &= \sigma_{\text{g}}^2 R, \quad R_{rs} = "),
        ("cs, three variances", r"R_{rs} = \rho_{\text{g}} \; (r \neq s), \quad R_{rr} = 1"),
        ("ar1, one variance", r"R_{rs} = \rho_{\text{g}}^{|r - s|}, \quad r, s = 1, \dots, 3"),
    ],
)
def test_one_correlation_in_latex(designs, name, line):
    assert line in build_equation(designs[name]).latex


def test_thresholds_and_dispersions_are_written():
    data = lf.datasets.load("wine")
    design = lf.design("rating ~ temp + (1 | judge)", data)
    ordered = lf.compile(design, "cumulative(probit)")
    assert ordered.equation().text.splitlines() == [
        "probit(P(rating_i ≤ k)) = thresholds_k - η_i    k = 1 … 4",
        "η_i = effect_temp_T_warm · temp[T.warm]_i + judge_j[i]",
        "judge_j ~ Normal(0, stddev_judge²)    j = 1 … 9",
    ]
    assert r"\operatorname{probit}(\operatorname{P}(" in ordered.equation().latex
    assert r"&= \tau_{k} - \eta_{i}, \quad k = 1, \dots, 4" in ordered.equation().latex
    node = next(node for node in ordered.graph().nodes if node.name == "thresholds")
    assert (node.kind, node.shape) == ("parameter", (4,))
    assert "rating ~ Cumulative(η, thresholds), 72 rows" in ordered.graph().text()
    counts = lf.compile(lf.design("response ~ temp + (1 | judge)", data), "nbinom2")
    assert "response_i ~ NB2(μ_i, dispersion)" in counts.equation().text
    assert r"\operatorname{NB2}(\mu_{i}, \phi)" in counts.equation().latex
