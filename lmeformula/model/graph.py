"""Design and family -> the model as a directed graph: text for the REPL, DOT, SVG and PNG."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmeformula.covariance.direct_sum import DirectSum
from lmeformula.covariance.structure import Structure
from lmeformula.design.design import Design
from lmeformula.files import located, write_whole
from lmeformula.model.graphviz import run_dot
from lmeformula.model.symbols import (
    GLUE,
    Effects,
    Predictor,
    SymbolicModel,
    shortened,
    symbolic_model,
    wrap_glued,
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
        return write_whole(located(path), run_dot(self.dot(), "png"))

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
      >>> from lmeformula.design import design
      >>> data = {"y": [1.0, 2.0, 4.0], "g": ["a", "a", "b"]}
      >>> build_graph(design("y ~ 1 + (1 | g)", data))
      stddev_g ─▶ g ~ Normal(0, stddev_g), 2 levels ─┐
      intercept ─────────────────────────────────────┤
      sigma ─────────────────────────────────────────┤
                                                     ▼
                          y ~ Normal(eta, sigma), 3 rows
                                 eta = intercept + g
    """
    model = symbolic_model(design, family=family, sigma=sigma)
    notation, response, n = model.notation, model.name, model.num_rows
    nodes: list[Node] = []
    edges: list[tuple[str, str]] = []
    for effects in model.effects:
        parameters = covariance_parameters(effects)
        nodes += [*parameters, latent_node(effects)]
        edges += [(parameter.name, effects.name) for parameter in parameters]
        edges.append((effects.name, response))

    inputs = [Node(each.name, "parameter", ()) for p in model.predictors for each in p.fixed]
    rows = list(model.columns)
    rows += ["offset"] if any(predictor.has_offset for predictor in model.predictors) else []
    has_weights = model.is_additive or notation.has_weights
    rows += ["weights"] if has_weights and model.has_prior_weights else []
    rows += ["trials"] if notation.has_trials else []
    taken = {response, *(node.name for node in (*nodes, *inputs))}
    for column in rows:
        name = column if column not in taken else f"{column} (data)"
        inputs.append(Node(name, "data", (n,), f"{n:,} rows"))
    if notation.own and sigma is None:
        size = model.num_thresholds or len(model.own)
        shape = (size,) if size > 1 or notation.is_ordered else ()
        inputs.append(Node(notation.own, "parameter", shape))
    nodes += inputs
    edges += [(node.name, response) for node in inputs]

    text = f"{response_distribution(model)}, {n:,} rows"
    nodes.append(Node(response, "response", (n,), text))
    equations = "; ".join(map(predictor_equation, model.predictors))
    return Graph(tuple(nodes), tuple(edges), equations)


def covariance_parameters(effects: Effects) -> list[Node]:
    """The standard deviations of a term, and its correlations where it has any."""
    k, name = len(effects.columns), effects.name
    structure = effects.structure
    if structure.correlations == "factors" and not structure.num_sds(k):
        return [Node(f"loadings_{name}", "parameter", (k, structure.rank(k)))]
    if structure.correlations == "known":
        return [Node(f"stddev_{name}", "parameter", ())] * structure.num_sds(k)
    shape = () if k == 1 or effects.has_one_variance else (k,)
    parameters = [Node(f"stddev_{name}", "parameter", shape)]
    if effects.is_correlated and structure.correlations != "factors":
        parameters.append(Node(f"correlation_{name}", "parameter", _pairs(effects.structure, k)))
    if effects.has_df:
        parameters.append(Node(f"df_{name}", "parameter", ()))
    return parameters


def _pairs(structure: Structure, k: int) -> tuple[int, ...]:
    """The shape of a term's correlations."""
    if isinstance(structure, DirectSum):
        return (structure.count, *_pairs(structure.structure, k // structure.count))
    return {"one": (), "two": (2,), "lags": (k - 1,), "each": (k, k)}[structure.correlations]


def latent_node(effects: Effects) -> Node:
    """The random effects of a term."""
    k, num_levels, name = len(effects.columns), effects.num_levels, effects.name
    family = f"StudentT(df_{name}, " if effects.has_df else "Normal("
    scale = "Sigma" if effects.is_correlated else f"stddev_{name}"
    of = ""
    if k > 1:
        of = f" of ({textwrap.shorten(', '.join(effects.columns), 40, placeholder=' ...')})"
    elif effects.columns != ("Intercept",):
        of = f" of {effects.columns[0]}"
    if effects.relation:
        scale += f" x {effects.relation}"
    text = f"{family}0, {scale}), {num_levels:,} level{'s' * (num_levels != 1)}{of}"
    return Node(name, "latent", (num_levels,) if k == 1 else (num_levels, k), text)


def is_own(node: Node) -> bool:
    """Whether a node is a parameter of the response's own distribution."""
    return node.kind == "parameter" and not node.name.startswith(EFFECTS)


def response_distribution(model: SymbolicModel) -> str:
    """The response's distribution given its predictor, such as "Normal(eta, sigma)"."""
    notation = model.notation
    arguments = ["trials"] if notation.has_trials else []
    arguments += [predictor.symbol for predictor in model.predictors]
    if model.is_additive or len(model.predictors) > 1:
        arguments += model.own
    elif notation.own:
        arguments.append(notation.own)
    if model.is_additive and model.has_prior_weights:
        arguments[-1] += " / sqrt(weights)"
    return f"{notation.distribution}({', '.join(arguments)})"


def predictor_equation(predictor: Predictor) -> str:
    """A linear predictor in the names of the nodes."""
    left = predictor.left(predictor.symbol, lambda name, argument: f"{name}({argument})")
    fixed, random = (
        [each.name + (f" · {each.column}" if each.column else "") for each in coefficients]
        for coefficients in (predictor.fixed, predictor.random)
    )
    products = shortened(fixed, MOST_DRAWN, 3, "...") + random
    products += ["offset"] if predictor.has_offset else []
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

    below = [f"{response.name} ~ {response.text}"]
    below += [line for equation in graph.predictor.split("; ") for line in wrapped(equation)]
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


def wrapped(equation: str, width: int = TEXT_WIDTH - 12, *, indent: bool = True) -> list[str]:
    """An equation in lines, broken between its summands and continued after its equals sign."""
    glued = equation.replace(" · ", f"{GLUE}·{GLUE}").replace(" + ", f"{GLUE}+ ")
    return wrap_glued(glued, width, equation.index("=") + 2 if indent else 0)


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
