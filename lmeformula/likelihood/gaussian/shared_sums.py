"""Cross products of a Gaussian model's rows in parts, formed once: all that its likelihood by probes needs.

A part holds, by these names: "Q", its rows of orthogonal columns that are its own; "responses", of those of all
parts, and the responses; "first", what these leave of the responses at first; and what shared_rows.py reads.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.algebra.shared import added, lay_out, shared_products
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.design.shards import shards_of
from lmeformula.likelihood.gaussian.from_residuals import Rows
from lmeformula.likelihood.gaussian.shared_rows import SharedRows, gathered
from lmeformula.likelihood.gaussian.sums import Sums, subtract, weighted_by
from lmeformula.rows.mapped import beside, put_away
from lmeformula.rows.parts import Part


def shared_sums(design: Design) -> Sums:
    """Form the cross products of a design, wherever its rows are, behind what is asked of them.

    Args:
      design: with a numeric response and at least one random term.
    """
    shards = shards_of(design)
    parts, plan = shards.parts, lay_out(shards)
    corners = parts.keep("Q", _orthogonal)
    mixed, R = _together(corners)
    told = parts.keep("responses", _turned, each=[mixed])
    Qy = added([each.Qy for each in told])
    # Once more: of a large mean the first residual keeps the rounding, which is in the columns' span.
    again = added(parts.keep("first", _first_residual, Qy))
    squares = sum(parts.keep("regression", _residual, again))
    ZQ, Zy = (gathered(shards, plan, parts.ask(_totals, what)) for what in ("Q", "residual"))
    put_away()
    size = math.sqrt(sum(each.yy for each in told))
    return Sums(
        plan=plan,
        products=shared_products(shards, plan),
        ZQ=ZQ,
        Zy=Zy[:, 0],
        yy=squares,
        R=R,
        ols=np.asarray(np.linalg.solve(R, Qy), float),
        n=sum(each.n for each in told),
        log_weights=sum(each.log_weights for each in told),
        rows=SharedRows(shards, plan, size, squares),
    )


def _together(corners: list[Floats]) -> tuple[list[Floats | None], Floats]:
    """What turns each part's columns into its rows of Q, and R, from the R of each part."""
    if len(corners) == 1:
        return [None], corners[0]
    Q, R = orthogonal(np.concatenate(corners))
    cuts = np.cumsum([len(corner) for corner in corners])[:-1]
    return list(np.split(Q, cuts)), R


class Told(NamedTuple):
    """What a part says of its responses."""

    Qy: Floats
    yy: float
    n: int
    log_weights: float


def _orthogonal(part: Part) -> tuple[Floats, Floats]:
    weights = part.rows.total_weights
    X = part.rows.X if weights is None else part.rows.X * np.sqrt(weights)[:, None]
    found = orthogonal(X)
    put_away()
    return found


def _turned(part: Part, mixed: Floats | None) -> tuple[tuple[Floats, Floats], Told]:
    """Rows of Q, and responses less the offset, times the root of the weights."""
    design = part.rows
    Q: Floats = part.held.pop("Q")
    Q = Q if mixed is None else Q @ mixed
    weights = design.total_weights
    y = weighted_by(None if weights is None else np.sqrt(weights), design.y, design.offset)
    told = Told(Q.T @ y, float(y @ y), design.num_observations, design.sum_log_weights)
    return (Q, y), told


def _first_residual(part: Part, Qy: Floats) -> tuple[Floats, Floats]:
    Q, y = part.held["responses"]
    residual = beside(Q, y.shape)
    subtract(y, Q, Qy, residual)
    return residual, Q.T @ residual


def _residual(part: Part, again: Floats) -> tuple[Rows, float]:
    # What is made from responses is all that is asked for from here on: they count among what is largest.
    Q, y = part.held.pop("responses")
    residual = part.held.pop("first")
    subtract(residual, Q, again, residual)
    weights = part.rows.total_weights
    root = None if weights is None else np.sqrt(weights)
    return Rows(Q, residual, root, float(np.linalg.norm(y))), float(residual @ residual)


def _totals(part: Part, what: str) -> tuple[Floats, ...]:
    """(l, k, m) Z' times Q, or times the residual, of each term."""
    rows: Rows = part.held["regression"]
    plan: Layout = part.held["plan"]
    columns: Floats = getattr(rows, what)
    return plan.split(rows.gather(plan, columns if columns.ndim > 1 else columns[:, None]))
