"""Cross products of a Gaussian model's rows, formed once: all that its likelihood needs of the data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import CrossProducts, Layout, layout
from lmeformula.algebra.meetings import Together, find_meetings
from lmeformula.algebra.orthogonal import orthogonal
from lmeformula.algebra.products import Products
from lmeformula.algebra.small import DenseProducts, dense_products
from lmeformula.arrays import Floats
from lmeformula.design.design import Design
from lmeformula.likelihood.gaussian.from_residuals import Rows
from lmeformula.likelihood.gaussian.shared_rows import SharedRows
from lmeformula.likelihood.singular import column_root
from lmeformula.model.params import ParamSpace
from lmeformula.rows.mapped import beside, put_away, row_blocks


class Sums(NamedTuple):
    """What the likelihood needs of the data.

    X is replaced by Q of W^(1/2) X = Q R and y by what Q leaves of it, so that large means or scales of
    the columns cost no digits.

    Attributes:
      plan: layout of the random effects.
      products: Z'WZ in blocks, some of them dense, or behind what is asked of it.
      ZQ: (q, p), Z'W^(1/2) Q.
      Zy: (q,), Z'W^(1/2) times the least-squares residual.
      yy: residual sum of squares of the regression of y on X alone.
      R: (p, p) upper-triangular factor of W^(1/2) X.
      ols: (p,) coefficients of that regression.
      n: number of observations.
      log_weights: sum of the log prior weights of the observations.
      rows: Q and what it leaves of y, in memory or elsewhere.
      dense: Z'WZ as one matrix, where there are few effects.
      signs: (r, m) probes, where the products are sparse: M is then not factored.
      times: (n,) how many observations each row stands for; None for one.
    """

    plan: Layout
    products: CrossProducts | Together | Products
    ZQ: Floats
    Zy: Floats
    yy: float
    R: Floats
    ols: Floats
    n: int
    log_weights: float
    rows: Rows | SharedRows
    dense: DenseProducts | None = None
    signs: Floats | None = None
    times: Floats | None = None

    @property
    def rows_here(self) -> Rows:
        """The rows, in memory, where what can be factored always has them."""
        assert isinstance(self.rows, Rows)
        return self.rows

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


def prepare(design: Design) -> Carrier:
    """Form the cross products of a design with at least one random term, in blocks that can be factored.

    Raises:
      ModelError: if the block that is dense would not fit into memory.
    """
    plan = layout(design.terms)
    # A row of frequency f is f rows: it counts as one of f times the precision, but for the constants.
    weights = design.total_weights
    root = None if weights is None else np.sqrt(weights)
    Q, R = orthogonal(design.X if root is None else design.X * root[:, None])
    rows = Rows(Q, np.zeros(design.n), root, 0.0)
    put_away()
    # Where elements can meet is the design's to say, not the numbers': a column may sum to zero in a level.
    products = find_meetings(plan).products(np.ones(design.n) if weights is None else weights)
    none = Sums(
        plan=plan,
        products=products,
        ZQ=rows.gather(plan, Q),
        Zy=np.zeros(plan.num_effects),
        yy=0.0,
        R=R,
        ols=np.zeros(len(R)),
        n=design.num_observations,
        log_weights=design.sum_log_weights,
        rows=rows,
        dense=dense_products(plan, products),
        times=design.frequency,
    )
    return Carrier(none, design.offset)


def weighted(carrier: Carrier, y: Floats) -> Floats:
    """Responses (n,) or (n, m) less the offset, times the root of the weights."""
    root, offset = carrier.none.rows_here.root, carrier.offset
    return weighted_by(root, y, offset)


def weighted_by(root: Floats | None, y: Floats, offset: Floats) -> Floats:
    """The same by the root (n,) of the weights."""
    found = beside(y, y.shape)
    for rows in row_blocks(len(y)):
        part = y[rows].T - offset[rows]
        found[rows] = (part if root is None else part * root[rows]).T
    return found


def left_by_regression(carrier: Carrier, y: Floats) -> tuple[Floats, Floats]:
    """What the fixed effects leave of `weighted` responses (n,) or (n, m), and Q'y."""
    Q = carrier.none.rows_here.Q
    Qy = Q.T @ y
    residual = beside(Q, y.shape)
    subtract(y, Q, Qy, residual)
    # Once more: of a large mean the first residual keeps the rounding, which is in the columns' span.
    subtract(residual, Q, Q.T @ residual, residual)
    return residual, Qy


def subtract(y: Floats, Q: Floats, coefficients: Floats, out: Floats) -> None:
    """Put y (n,) or (n, m) less Q coefficients into an array, which may be y itself."""
    for rows in row_blocks(len(y)):
        out[rows] = y[rows] - Q[rows] @ coefficients


def respond(carrier: Carrier, y: Floats) -> Sums:
    """Add a response (n,) to a design's cross products."""
    none, y = carrier.none, weighted(carrier, y)
    residual, Qy = left_by_regression(carrier, y)
    rows = Rows(none.rows_here.Q, residual, none.rows_here.root, float(np.linalg.norm(y)))
    return none._replace(
        Zy=rows.gather(none.plan, residual[:, None])[:, 0],
        yy=float(residual @ residual),
        ols=np.asarray(np.linalg.solve(none.R, Qy), float),
        rows=rows,
    )


def sums(design: Design) -> Sums:
    """Form the cross products of a design with a numeric response and at least one random term."""
    assert design.y is not None
    found = respond(prepare(design), design.y)
    put_away()
    return found
