"""The graph of a model: its nodes and edges, its text, DOT, SVG and PNG."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import LmeFormulaError
from lmeformula.model.graph import Graph, build_graph

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz is not installed")
MODELS = (
    ("crossed", "gaussian"),
    ("nested", "gaussian"),
    ("slope", "gaussian"),
    ("slope only", "gaussian"),
    ("three columns", "gaussian"),
    ("diagonal", "gaussian"),
    ("one variance", "gaussian"),
    ("cs, three variances", "gaussian"),
    ("ar1, one variance", "gaussian"),
    ("weights", "gaussian"),
    ("no fixed effects", "gaussian"),
    ("no random effects", "gaussian"),
    ("logical", "bernoulli"),
    ("counts", "poisson"),
    ("cbind", "binomial"),
)


@pytest.fixture(scope="module")
def tutorial(designs, make_term):
    """The published tutorial's model, with its names and sizes."""
    index, n = np.zeros(73421, np.int32), 73421
    sizes = {"students": 2972, "instructors": 1128, "departments": 14}
    terms = tuple(
        replace(make_term(name, index), values=np.ones((n, 1)), levels=tuple(map(str, range(size))))
        for name, size in sizes.items()
    )
    response = replace(designs["crossed"].response, name="ratings", values=np.zeros(n))
    return replace(
        designs["crossed"],
        terms=terms,
        names=("Intercept", "service"),
        X=np.ones((n, 2)),
        response=response,
        offsets=(np.zeros(n),),
    )


def test_nodes_and_edges(tutorial):
    graph = build_graph(tutorial)
    kinds = {node.name: (node.kind, node.shape) for node in graph.nodes}
    assert kinds == {
        "stddev_students": ("parameter", ()),
        "students": ("latent", (2972,)),
        "stddev_instructors": ("parameter", ()),
        "instructors": ("latent", (1128,)),
        "stddev_departments": ("parameter", ()),
        "departments": ("latent", (14,)),
        "intercept": ("parameter", ()),
        "effect_service": ("parameter", ()),
        "service": ("data", (73421,)),
        "sigma": ("parameter", ()),
        "ratings": ("response", (73421,)),
    }
    assert ("stddev_students", "students") in graph.edges
    assert [node.name for node in graph.parents("ratings")] == [
        *("students", "instructors", "departments"),
        *("intercept", "effect_service", "service", "sigma"),
    ]
    assert graph.parents("service") == ()


@pytest.mark.parametrize(("name", "family"), MODELS)
def test_the_graph_is_that_of_the_joint_distribution(designs, name, family):
    """Same parts, shapes and dependencies, and a parameter node for each trainable variable."""
    from lmeformula.model.joint import build_joint
    from lmeformula.model.params import Params

    design = designs[name]
    covariances = tuple(np.eye(len(term.columns)) for term in design.terms)
    start = Params(np.zeros(len(design.names)), covariances, np.ones(1))
    joint = build_joint(design, start, family=family)
    graph = build_graph(design, family=family)
    parts = {node.name: node for node in graph.nodes if node.kind in ("latent", "response")}
    assert {name: node.shape for name, node in parts.items()} == joint.distribution.event_shape
    for part, parents in joint.distribution.resolve_graph():
        latents = [node.name for node in graph.parents(part) if node.kind == "latent"]
        assert latents == list(parents)
    parameters = {node.name: node.shape for node in graph.nodes if node.kind == "parameter"}
    assert parameters == {name: tuple(v.shape) for name, v in joint.variables.items()}


def test_text_of_the_tutorials_model(tutorial):
    graph = build_graph(tutorial)
    assert (
        graph.text()
        == """\
stddev_students    ─▶ students ~ Normal(0, stddev_students), 2,972 levels ─────────┐
stddev_instructors ─▶ instructors ~ Normal(0, stddev_instructors), 1,128 levels ───┤
stddev_departments ─▶ departments ~ Normal(0, stddev_departments), 14 levels ──────┤
intercept, effect_service ─────────────────────────────────────────────────────────┤
service: data, 73,421 rows ────────────────────────────────────────────────────────┤
sigma ─────────────────────────────────────────────────────────────────────────────┤
                                                                                   ▼
                                           ratings ~ Normal(eta, sigma), 73,421 rows
   eta = intercept + effect_service · service + students + instructors + departments"""
    )
    assert repr(graph) == graph.text()


@pytest.mark.parametrize(
    ("name", "family", "sigma", "lines"),
    [
        (
            "slope",
            "gaussian",
            None,
            [
                "stddev_g, correlation_g ─▶ g ~ Normal(0, Sigma), 5 levels of (Intercept, x) ─┐",
                "y ~ Normal(eta, sigma), 24 rows",
                "eta = intercept + effect_x · x + g[0] + g[1] · x",
            ],
        ),
        (
            "diagonal",
            "gaussian",
            None,
            ["stddev_g ─▶ g ~ Normal(0, stddev_g), 5 levels of (Intercept, x) ─┐"],
        ),
        (
            "slope only",
            "gaussian",
            None,
            ["stddev_g_1 ─▶ g_1 ~ Normal(0, stddev_g_1), 5 levels of x ─┤"],
        ),
        ("crossed", "gaussian", 1.0, ["y ~ Normal(eta, 1), 24 rows"]),
        (
            "weights",
            "gaussian",
            None,
            ["x, weights: data, 24 rows ", "y ~ Normal(eta, sigma / sqrt(weights)), 24 rows"],
        ),
        (
            "counts",
            "poisson",
            None,
            ["x, offset: data", "y ~ Poisson(μ), 24 rows", "log(μ) = intercept + effect_x · x + g"],
        ),
        ("trials", "binomial", None, ["x, trials: data", "y ~ Binomial(trials, p), 24 rows"]),
        ("logical", "binomial", None, ["y ~ Bernoulli(p), 24 rows", "logit(p) = intercept"]),
        ("no fixed effects", "gaussian", None, ["eta = g + h"]),
    ],
)
def test_text_of_other_models(designs, name, family, sigma, lines):
    text = build_graph(designs[name], family=family, sigma=sigma).text()
    for line in lines:
        assert line in text
    assert ("sigma" in text) == (family == "gaussian" and sigma is None)
    assert max(map(len, text.splitlines())) <= 100


def test_a_shifted_link_is_written_around_its_parameter():
    x = np.arange(8.0)
    data = {"y": np.cos(x), "x": np.sqrt(x), "g": x % 2}
    model = lf.compile(lf.design({"mu": "y ~ x + (1 | g)", "df": "~ x"}, data), "student")
    assert "log(df - 1) = effect_df_Intercept + effect_df_x · x" in model.graph().text()


def test_many_fixed_effects_stay_readable(designs):
    names = ("Intercept", *(f"period[T.{i}]" for i in range(29)))
    graph = build_graph(replace(designs["crossed"], names=names, X=np.ones((24, 30))))
    assert sum(node.kind == "parameter" for node in graph.nodes) == 30 + 3
    lines = graph.text().splitlines()
    assert len(lines) < 12
    assert max(map(len, lines)) <= 104
    assert "... (26 more), effect_period_T_28 ─" in lines[2]
    assert graph.dot().count("effect_period") == 4
    assert '"intercept" [label="intercept\\n...\\neffect_period_T_28\\n(30 in all)"' in graph.dot()


def test_a_column_with_the_name_of_a_part_is_a_node_of_its_own(designs):
    """In y ~ g + (1 | g), g is a column of the fixed effects and a grouping factor."""
    graph = build_graph(replace(designs["crossed"], names=("Intercept", "g")))
    nodes = [node.name for node in graph.nodes]
    assert len(nodes) == len(set(nodes))
    assert {node.name: node.kind for node in graph.nodes}["g (data)"] == "data"


def test_dot_has_every_node_and_edge(tutorial):
    graph = build_graph(tutorial)
    dot = graph.dot()
    assert set(re.findall(r'^  "(\w+)" \[', dot, re.M)) == {node.name for node in graph.nodes}
    assert set(re.findall(r'"(\w+)" -> "(\w+)"', dot)) == set(graph.edges)


def test_names_are_quoted_in_dot(designs):
    design = replace(designs["crossed"], names=("Intercept", 'a "b" \\c'))
    assert '"a \\"b\\" \\\\c" [label="a \\"b\\" \\\\c\\n24 rows"' in build_graph(design).dot()


@needs_dot
@pytest.mark.parametrize(("name", "family"), MODELS)
def test_graphviz_draws_it(designs, name, family, tmp_path):
    graph = build_graph(designs[name], family=family)
    svg = graph.svg()
    assert "</svg>" in svg
    for node in graph.nodes:
        assert node.name in svg
    assert graph._repr_svg_() == svg
    path = graph.png(tmp_path / "graph.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_graphviz_pictures_are_refused_and_text_stays(designs, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    graph = build_graph(designs["crossed"])
    with pytest.raises(LmeFormulaError, match="SVG needs graphviz's `dot` program") as caught:
        graph.svg()
    assert "Install graphviz" in str(caught.value)
    with pytest.raises(LmeFormulaError, match="PNG needs"):
        graph.png(tmp_path / "graph.png")
    assert not (tmp_path / "graph.png").exists()
    assert graph._repr_svg_() is None
    assert "digraph" in graph.dot()
    assert graph.text().startswith("stddev_g")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for dot")
def test_a_failure_of_graphviz_is_reported(designs, monkeypatch, tmp_path):
    program = tmp_path / "dot"
    program.write_text("#!/bin/sh\necho 'no fonts' >&2\nexit 3\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(LmeFormulaError, match="could not draw the model: no fonts"):
        build_graph(designs["crossed"]).svg()


def test_drawing_does_not_import_tensorflow():
    code = (
        "import sys, lmeformula.model.graph, lmeformula.model.equation; "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_record_is_immutable(designs):
    graph = build_graph(designs["crossed"])
    assert isinstance(graph, Graph)
    with pytest.raises(AttributeError):
        graph.nodes = ()
