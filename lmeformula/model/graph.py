"""Design and family -> the model as a directed graph: text for the REPL, DOT, SVG and PNG."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmeformula.covariance.table import structure_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.files import write_whole
from lmeformula.model.family.categories import categories
from lmeformula.model.family.notation import Notation
from lmeformula.model.graphviz import run_dot
from lmeformula.model.notation import (
    bare_columns,
    data_columns,
    family_notation,
    has_offset,
    is_correlated,
    part_names,
)

TEXT_WIDTH = 100
DOT_WIDTH = 44
# Scalar fixed effects, or data columns, beyond this many share one node in a drawing.
MOST_DRAWN = 6
# Parameters of the response's own distribution are drawn apart from the fixed effects, which are called so.
EFFECTS = ("intercept", "effect_")


@dataclass(frozen=True, slots=True)
class Node:
    """One quantity of the model.

    Attributes:
      name: as in the joint distribution and its variables; for data the column's name.
      kind: "parameter", "latent", "data" or "response".
      shape: its dimensions, () for a scalar.
      text: how it is distributed or what it is, such as "Normal(0, stddev_g), 12 levels".
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    text: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """A model as a directed graph: parameters and data point at what they enter.

    Attributes:
      nodes: in the order of the formula; the response comes last.
      edges: (from, to) names of nodes.
      predictor: the equation of the response's linear predictor in the nodes' names; the middle of
        many fixed effects is left out.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]
    predictor: str

    @property
    def response(self) -> Node:
        """The node that everything leads to."""
        return self.nodes[-1]

    def parents(self, name: str) -> tuple[Node, ...]:
        """The nodes with an edge to `name`, in order."""
        sources = {source for source, target in self.edges if target == name}
        return tuple(node for node in self.nodes if node.name in sources)

    def text(self) -> str:
        """The graph drawn with lines and arrows, for a terminal of 100 columns."""
        return graph_text(self)

    def dot(self) -> str:
        """The graph in the DOT language of graphviz."""
        return graph_dot(self)

    def svg(self) -> str:
        """The graph as SVG.

        Raises:
          LmeFormulaError: graphviz's `dot` program is not installed, or failed.
        """
        return run_dot(self.dot(), "svg").decode("utf-8")

    def png(self, path: str | Path) -> Path:
        """Write the graph to a PNG file and return its path.

        Raises:
          LmeFormulaError: graphviz's `dot` program is not installed, or failed.
        """
        return write_whole(Path(path), run_dot(self.dot(), "png"))

    def __repr__(self) -> str:
        return self.text()

    def _repr_svg_(self) -> str | None:
        # None sends a notebook to the text.
        return self.svg() if shutil.which("dot") else None


def build_graph(design: Design, *, family: Any = "gaussian", sigma: float | None = None) -> Graph:
    """Lay out a model as a graph.

    Args:
      design: the data as arrays.
      family: the response's family, by name or as a record with a `name`.
      sigma: the residual standard deviation where it is fixed.
    Returns:
      graph: its parameters and parts are named as those of the joint distribution.
    Example:
      >>> import numpy as np
      >>> from lmeformula.design.design import ResponseBlock
      >>> from lmeformula.formula.formula import Formula
      >>> from lmeformula.formula.ir import Column, FixedPart, Response, TermSum
      >>> term = TermBlock("g", ("Intercept",), np.ones((3, 1)), "g", ("g",), ("a", "b"),
      ...                  np.array([0, 0, 1], np.int32))
      >>> formula = Formula(Response(Column("y")), FixedPart(TermSum(True, ())), ())
      >>> design = Design(formula, ResponseBlock("y", "numeric", np.array([1.0, 2.0, 4.0])),
      ...                 np.ones((3, 1)), ("Intercept",), (term,), (np.zeros(3),), None, np.arange(3))
      >>> build_graph(design)
      stddev_g ─▶ g ~ Normal(0, stddev_g), 2 levels ─┐
      intercept ─────────────────────────────────────┤
      sigma ─────────────────────────────────────────┤
                                                     ▼
                          y ~ Normal(eta, sigma), 3 rows
                                 eta = intercept + g
    """
    names, notation = part_names(design), family_notation(family, design)
    response, n = names.response, design.n
    nodes: list[Node] = []
    edges: list[tuple[str, str]] = []

    for term, part in zip(design.terms, names.terms, strict=True):
        parameters = covariance_parameters(term, part)
        latent = latent_node(term, part)
        nodes += [*parameters, latent]
        edges += [(parameter.name, part) for parameter in parameters]
        edges.append((part, response))

    inputs = [Node(name, "parameter", ()) for name in names.effects]
    rows = [*data_columns(design)]
    rows += ["offset"] if has_offset(design) else []
    has_weights = notation.has_sigma or notation.has_weights
    rows += ["weights"] if has_weights and design.weights is not None else []
    rows += ["trials"] if notation.has_trials else []
    taken = {node.name for node in nodes} | {node.name for node in inputs} | {response}
    for column in rows:
        name = column if column not in taken else f"{column} (data)"
        inputs.append(Node(name, "data", (n,), f"{n:,} rows"))
    if notation.has_sigma and sigma is None:
        inputs.append(Node("sigma", "parameter", ()))
    if notation.own:
        inputs.append(Node(notation.own, "parameter", own_shape(notation, design)))
    nodes += inputs
    edges += [(node.name, response) for node in inputs]

    text = f"{response_distribution(notation, design, sigma)}, {n:,} rows"
    nodes.append(Node(response, "response", (n,), text))
    return Graph(tuple(nodes), tuple(edges), predictor_equation(design, notation))


def covariance_parameters(term: TermBlock, part: str) -> list[Node]:
    """The standard deviations of a term, and its correlations where it has any."""
    k = len(term.columns)
    shape = () if k == 1 or term.homogeneous else (k,)
    parameters = [Node(f"stddev_{part}", "parameter", shape)]
    if is_correlated(term):
        pairs = {"one": (), "lags": (k - 1,), "each": (k, k)}[structure_of(term).correlations]
        parameters.append(Node(f"correlation_{part}", "parameter", pairs))
    if term.distribution == "student":
        parameters.append(Node(f"df_{part}", "parameter", ()))
    return parameters


def latent_node(term: TermBlock, part: str) -> Node:
    """The random effects of a term."""
    k, num_levels = len(term.columns), len(term.levels)
    levels = f"{num_levels:,} level{'s' * (num_levels != 1)}"
    family = f"StudentT(df_{part}, " if term.distribution == "student" else "Normal("
    if k == 1:
        of = "" if term.columns == ("Intercept",) else f" of {term.columns[0]}"
        return Node(part, "latent", (num_levels,), f"{family}0, stddev_{part}), {levels}{of}")
    scale = "Sigma" if is_correlated(term) else f"stddev_{part}"
    columns = textwrap.shorten(", ".join(term.columns), 40, placeholder=" ...")
    return Node(part, "latent", (num_levels, k), f"{family}0, {scale}), {levels} of ({columns})")


def is_own(node: Node) -> bool:
    """Whether a node is a parameter of the response's own distribution."""
    return node.kind == "parameter" and not node.name.startswith(EFFECTS)


def own_shape(notation: Notation, design: Design) -> tuple[int, ...]:
    """The shape of a family's own parameter: thresholds are a vector."""
    if notation.predictors and not notation.is_ordered:
        return (len(notation.rest),) if len(notation.rest) > 1 else ()
    if not notation.is_ordered:
        return (len(notation.parts),) if notation.parts else ()
    return (len(categories(design)[1]) - 1,)


def response_distribution(notation: Notation, design: Design, sigma: float | None) -> str:
    """The response's distribution given its predictor, such as "Normal(eta, sigma)"."""
    if notation.has_sigma:
        scale = "sigma" if sigma is None else f"{sigma:g}"
        scale += "" if design.weights is None else " / sqrt(weights)"
        return f"{notation.distribution}(eta, {scale})"
    trials = "trials, " if notation.has_trials else ""
    if notation.predictors:
        symbols = ", ".join([*(name for name, _ in notation.predictors), *notation.rest])
        return f"{notation.distribution}({trials}{symbols})"
    own = f", {notation.own}" if notation.own else ""
    return f"{notation.distribution}({trials}{notation.parameter}{own})"


def predictor_equation(design: Design, notation: Notation) -> str:
    """The linear predictor in the names of the nodes; several, one after the other."""
    if notation.predictors:
        return "; ".join(
            _one_equation(design, f"{link}({name})" if link not in ("", "identity") else name, k)
            for k, (name, link) in enumerate(notation.predictors)
        )
    left = f"{notation.link}({notation.parameter})" if notation.parameter else "eta"
    if notation.is_ordered or notation.link == "identity":
        left = notation.parameter
    return _one_equation(design, left, 0)


def _one_equation(design: Design, left: str, predictor: int) -> str:
    names, bare = part_names(design), bare_columns(design)
    places = design.column_predictors
    products = [
        effect if bare[column] == "Intercept" else f"{effect} · {bare[column]}"
        for effect, column, place in zip(names.effects, design.names, places, strict=True)
        if place == predictor
    ]
    if len(products) > MOST_DRAWN:
        products = [*products[:3], "...", products[-1]]
    for term, part in zip(design.terms, names.terms, strict=True):
        k = len(term.columns)
        for j, column in enumerate(term.columns):
            if term.predictors[j] != predictor:
                continue
            effect = part if k == 1 else f"{part}[{j}]"
            products.append(effect if bare[column] == "Intercept" else f"{effect} · {bare[column]}")
    offset = design.offsets[predictor]
    products += ["offset"] if bool(np.any(offset != 0.0)) else []
    return f"{left} = {' + '.join(products) or '0'}"


# ---- text --------------------------------------------------------------------------------------


def graph_text(graph: Graph) -> str:
    """Draw a graph: a line per random-effects term, then what enters the response directly."""
    response = graph.response
    latents = [node for node in graph.nodes if node.kind == "latent"]
    direct = [node for node in graph.parents(response.name) if node.kind != "latent"]
    lines = []
    sources = [", ".join(p.name for p in graph.parents(latent.name)) for latent in latents]
    width = max(map(len, sources), default=0)
    for source, latent in zip(sources, latents, strict=True):
        lines.append(f"{source:<{width}} ─▶ {latent.name} ~ {latent.text}")
    scalars = [node.name for node in direct if node.kind == "parameter" and not is_own(node)]
    columns = [node for node in direct if node.kind == "data"]
    if scalars:
        lines.append(abbreviated(scalars))
    if columns:
        lines.append(f"{abbreviated([node.name for node in columns])}: data, {columns[0].text}")
    lines += [node.name for node in direct if is_own(node)]

    below = [f"{response.name} ~ {response.text}", *wrapped_all(graph.predictor)]
    trunk = max((len(line) for line in [*lines, *below]), default=0) + 2
    drawn = []
    for place, line in enumerate(lines):
        corner = "┐" if place == 0 else "┤"
        drawn.append(f"{line} {'─' * (trunk - len(line) - 1)}{corner}")
    drawn.append(" " * trunk + "▼")
    # Right-aligned under the arrow, the predictor's continuation lines as a block.
    drawn.append(below[0].rjust(trunk + 1))
    indent = " " * (trunk + 1 - max(map(len, below[1:])))
    drawn += [indent + line for line in below[1:]]
    return "\n".join(drawn)


def abbreviated(names: Sequence[str]) -> str:
    """Names in one line; the middle of a long list is left out."""
    shown = list(names)
    while len(", ".join(shown)) > TEXT_WIDTH - 30 and len(shown) > 2:
        shown.pop(-2)
    if len(shown) < len(names):
        shown.insert(-1, f"... ({len(names) - len(shown)} more)")
    return ", ".join(shown)


def wrapped_all(equations: str) -> list[str]:
    """Equations in lines, those of several predictors one below the other."""
    return [line for equation in equations.split("; ") for line in wrapped(equation)]


def wrapped(equation: str, width: int = TEXT_WIDTH - 12, *, indent: bool = True) -> list[str]:
    """An equation in lines, broken between its summands and continued after its equals sign."""
    glue = "\N{NO-BREAK SPACE}"
    lines = textwrap.wrap(
        equation.replace(" · ", f"{glue}·{glue}").replace(" + ", f"{glue}+ "),
        width,
        subsequent_indent=" " * (equation.index("=") + 2) if indent else "",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(glue, " ") for line in lines]


# ---- DOT ---------------------------------------------------------------------------------------

STYLES = {
    "parameter": 'shape=box, style="rounded,dashed"',
    "latent": "shape=ellipse",
    "data": 'shape=box, style=filled, fillcolor="#eeeeee"',
    "response": 'shape=ellipse, style=filled, fillcolor="#dddddd"',
}


def graph_dot(graph: Graph) -> str:
    """Write a graph in DOT; many fixed effects, or data columns, share one node."""
    lines = [
        "digraph model {",
        "  rankdir=LR;",
        '  node [fontname="Helvetica", fontsize=11];',
        "  edge [arrowsize=0.7];",
    ]
    for node, label in drawn_nodes(graph):
        lines.append(f"  {quoted(node.name)} [label={quoted(label)}, {STYLES[node.kind]}];")
    drawn = {node.name for node, _ in drawn_nodes(graph)}
    lines += [
        f"  {quoted(source)} -> {quoted(target)};"
        for source, target in graph.edges
        if source in drawn
    ]
    return "\n".join([*lines, "}"]) + "\n"


def drawn_nodes(graph: Graph) -> list[tuple[Node, str]]:
    """The nodes of a drawing with their labels; a shared node is drawn as the first of its members."""
    drawn: list[tuple[Node, str]] = []
    direct = graph.parents(graph.response.name)
    effects = [node for node in direct if node.kind == "parameter" and not is_own(node)]
    columns = [node for node in direct if node.kind == "data"]
    shared = [group for group in (effects, columns) if len(group) > MOST_DRAWN]
    members = {node.name: group for group in shared for node in group}
    for node in graph.nodes:
        label = node.name
        if node.name in members:
            group = members[node.name]
            if node is not group[0]:
                continue
            label = f"{group[0].name}\n...\n{group[-1].name}\n({len(group)} in all)"
        elif node.kind in ("latent", "response"):
            distribution, _, count = node.text.partition("), ")
            label = f"{node.name}\n{distribution})\n{count}"
            if node.kind == "response":
                label = "\n".join([label, *wrapped(graph.predictor, DOT_WIDTH, indent=False)])
        elif node.text:
            label = f"{node.name}\n{node.text}"
        drawn.append((node, label))
    return drawn


def quoted(text: str) -> str:
    """A DOT string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
