"""Cross products of a Gaussian model's rows, formed once: all that its likelihood needs of the data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts, Layout, layout
from lmeformula.algebra.incidence import find_incidence
from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.algebra.small import DenseProducts, dense_products
from lmeformula.algebra.sparseproducts import SparseProducts, find_meetings, sparse_products
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.likelihood.gaussian.from_residuals import Rows
from lmeformula.likelihood.singular import column_root
from lmeformula.model.params import ParamSpace
from lmeformula.rows.mapped import beside, put_away, row_blocks


class Sums(NamedTuple):
    """What the likelihood needs of the data.

    X is replaced by Q of W^(1/2) X = Q R and y by what Q leaves of it, so that large means or scales of
    the columns cost no digits.

    Attributes:
      plan: layout of the random effects.
      products: Z'WZ in blocks, some of them dense, or all sparse.
      ZQ: (q, p), Z'W^(1/2) Q.
      Zy: (q,), Z'W^(1/2) times the least-squares residual.
      yy: residual sum of squares of the regression of y on X alone.
      R: (p, p) upper-triangular factor of W^(1/2) X.
      ols: (p,) coefficients of that regression.
      n: number of observations.
      log_weights: sum of the log prior weights of the observations.
      rows: Q and what it leaves of y.
      dense: Z'WZ as one matrix, where there are few effects.
      signs: (r, m) probes, where the products are sparse: M is then not factored.
      times: (n,) how many observations each row stands for; None for one.
    """

    plan: Layout
    products: CrossProducts | SparseProducts
    ZQ: Floats
    Zy: Floats
    yy: float
    R: Floats
    ols: Floats
    n: int
    log_weights: float
    rows: Rows
    dense: DenseProducts | None = None
    signs: Floats | None = None
    times: Floats | None = None

    def freedom(self, reml: bool) -> int:
        """How many residuals are free: rows, of the restricted likelihood less fixed effects."""
        return self.n - len(self.ols) if reml else self.n

    def mean_products(self) -> tuple[Floats, ...]:
        """(k, k) mean products of the columns of each random-effects term."""
        return tuple(total / self.n for total in self.products.sums(self.plan))

    def column_scales(self) -> tuple[Floats, ...]:
        """(k,) root mean squares of the columns of each random-effects term."""
        roots = (np.sqrt(np.diag(products)) for products in self.mean_products())
        return tuple(np.where(root > 0, root, 1.0) for root in roots)

    def column_roots(self, space: ParamSpace) -> tuple[Floats, ...]:
        """(k, k) root of the mean products of each term's columns; see `column_root`."""
        return tuple(
            column_root(products, term.structure.correlations == "each")
            for products, term in zip(self.mean_products(), space.terms, strict=True)
        )


class Carrier(NamedTuple):
    """What `Sums` has of a design without its response: formed once for many responses.

    Attributes:
      none: the sums of a response that is the offset, of which nothing is left.
      offset: (n,).
    """

    none: Sums
    offset: Floats


def prepare(design: Design, *, factored: bool = True) -> Carrier:
    """Form the cross products of a design with at least one random term.

    Args:
      design: the design.
      factored: in blocks that can be factored; sparse ones otherwise, of which there may be very many.
    Raises:
      ModelError: if the block that is dense would not fit into memory.
    """
    plan = layout(design.terms)
    # A row of frequency f is f rows: it counts as one of f times the precision, but for the constants.
    weights = _total_weights(design)
    root = None if weights is None else np.sqrt(weights)
    Q, R = orthogonal(design.X if root is None else design.X * root[:, None])
    rows = Rows(Q, np.zeros(design.n), root, 0.0)
    products: CrossProducts | SparseProducts
    dense = None
    put_away()
    if factored:
        # Where elements can meet is the design's to say, not the numbers': a column may sum to zero in a level.
        products = find_incidence(plan).products(np.ones(design.n) if weights is None else weights)
        dense = dense_products(plan, products)
    else:
        products = sparse_products(find_meetings(plan), weights)
    none = Sums(
        plan=plan,
        products=products,
        ZQ=rows.gather(plan, Q),
        Zy=np.zeros(plan.num_effects),
        yy=0.0,
        R=R,
        ols=np.zeros(len(R)),
        n=design.num_observations,
        log_weights=_log_weights(design),
        rows=rows,
        dense=dense,
        times=design.frequency,
    )
    return Carrier(none, design.offset)


def _total_weights(design: Design) -> Floats | None:
    """(n,) prior weights times frequencies; None where both are one."""
    if design.weights is None or design.frequency is None:
        return design.frequency if design.weights is None else design.weights
    return design.weights * design.frequency


def _log_weights(design: Design) -> float:
    if design.weights is None:
        return 0.0
    logs = np.log(design.weights)
    return float(logs.sum() if design.frequency is None else logs @ design.frequency)


def weighted(carrier: Carrier, y: Floats) -> Floats:
    """Responses (n,) or (n, m) less the offset, times the root of the weights."""
    root, offset = carrier.none.rows.root, carrier.offset
    found = beside(y, y.shape)
    for rows in row_blocks(len(y)):
        part = y[rows].T - offset[rows]
        found[rows] = (part if root is None else part * root[rows]).T
    return found


def left_by_regression(carrier: Carrier, y: Floats) -> tuple[Floats, Floats]:
    """What the fixed effects leave of `weighted` responses (n,) or (n, m), and Q'y."""
    Q = carrier.none.rows.Q
    Qy = Q.T @ y
    residual = beside(Q, y.shape)
    for rows in row_blocks(len(y)):
        residual[rows] = y[rows] - Q[rows] @ Qy
    # Once more: of a large mean the first residual keeps the rounding, which is in the columns' span.
    further = Q.T @ residual
    for rows in row_blocks(len(y)):
        residual[rows] -= Q[rows] @ further
    return residual, Qy


def respond(carrier: Carrier, y: Floats) -> Sums:
    """Add a response (n,) to a design's cross products."""
    none, y = carrier.none, weighted(carrier, y)
    residual, Qy = left_by_regression(carrier, y)
    rows = Rows(none.rows.Q, residual, none.rows.root, float(np.linalg.norm(y)))
    return none._replace(
        Zy=rows.gather(none.plan, residual[:, None])[:, 0],
        yy=float(residual @ residual),
        ols=np.asarray(np.linalg.solve(none.R, Qy), float),
        rows=rows,
    )


def sums(design: Design, *, factored: bool = True) -> Sums:
    """Form the cross products of a design with a numeric response and at least one random term."""
    assert design.y is not None
    return respond(prepare(design, factored=factored), design.y)
