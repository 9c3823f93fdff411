"""Rows of blocks at nodes: their log densities and derivatives, and the prior of the effects there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import betaln, gammaln

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.family import ClosedForm
from lmeformula.likelihood.laplace.likelihood import At
from lmeformula.likelihood.laplace.rows import RowDerivatives, derivatives_of, stacked_form
from lmeformula.likelihood.quadrature.integrand import Integrand

# Densities evaluated at a time.
CHUNK = 1_000_000


class Place(NamedTuple):
    """An integrand at some parameters.

    Attributes:
      of, at: which, and where.
      closed: derivatives of the rows, where they are written out.
      base: (v n,) predictors without effects.
      loads: (v n, k) columns of Z Lambda, by their places in the blocks.
      freedom: degrees of freedom of each term; empty where all effects are Gaussian.
    """

    of: Integrand
    at: At
    closed: ClosedForm | None
    base: Floats
    loads: Floats
    freedom: tuple[float, ...]

    @classmethod
    def there(cls, of: Integrand, at: At, X: Floats, freedom: tuple[float, ...]) -> Place:
        """At parameters, whose fixed effects are of columns X (v n, p)."""
        family = of.model.family
        is_written = family.closed is not None and family.serves(of.response)
        base = of.model.stack.offset + X @ at.beta
        closed = family.closed if is_written else None
        return cls(of, at, closed, base, of.loads(at.lambdas), freedom)

    @property
    def has_tails(self) -> bool:
        """Whether some effects are not Gaussian."""
        return any(np.isfinite(df) for df in self.freedom)


class Rows(NamedTuple):
    """The rows of some blocks at their nodes.

    Attributes:
      stacked: (K m,) their places in the stack, which begins with the rows of the predictors.
      block: (m,) which of the blocks each is of, ascending.
      values: (m, N) log densities.
      first: (K m, N) their slopes in the predictors.
      own_each: (f, m, N) those in the own parameters.
      eta: (K m, N) their predictors.
      second: (v m N,) the rows' second derivatives, where they came along.
      derivatives: what gave all that.
    """

    stacked: Ints
    block: Ints
    values: Floats
    first: Floats
    own_each: Floats
    eta: Floats
    second: Floats | None
    derivatives: RowDerivatives

    def sums(self, num_blocks: int, of_rows: Floats) -> Floats:
        """(l, N) sums over the rows of each block, of what is said of each row (m, N)."""
        if not len(self.block):
            return np.zeros((num_blocks, of_rows.shape[1]))
        firsts = np.flatnonzero(np.diff(self.block, prepend=-1))
        sums = np.add.reduceat(of_rows, firsts, axis=0)
        if len(firsts) == num_blocks:
            return np.asarray(sums)
        found = np.zeros((num_blocks, of_rows.shape[1]))
        found[self.block[firsts]] = sums
        return found

    def log_densities(self, num_blocks: int) -> Floats:
        """(l, N) of each block's rows; far out, where one overflows, it is nil."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.sums(num_blocks, self.values)
        return np.where(np.isnan(found), -np.inf, found)


def rows_at(place: Place, blocks: Ints, nodes: Floats) -> Rows:
    """The rows of blocks at nodes (l, N, k)."""
    of, n, num_nodes = place.of, len(place.of.order), nodes.shape[1]
    counts = of.ends[blocks + 1] - of.ends[blocks]
    block = np.repeat(np.arange(len(blocks)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = of.order[np.repeat(of.ends[blocks], counts) + within]
    times = of.model.stack.mixture.num_predictors
    stacked = (np.arange(times)[:, None] * n + places).ravel()
    eta = moved(place.base, place.loads, stacked, np.tile(block, times), nodes)
    response = tuple(
        np.repeat(array[places], num_nodes, axis=0) if np.ndim(array) else array
        for array in of.response
    )
    mixture = of.model.stack.mixture._replace(num_rows=len(places) * num_nodes)
    form = place.closed or stacked_form(of.model.family, response, mixture)
    derivatives = derivatives_of(form, response, of.model.space.own.scale, mixture)
    scores = derivatives.scores(eta.ravel(), place.at.own)
    return Rows(
        stacked,
        block,
        scores.values.reshape(-1, num_nodes),
        scores.first.reshape(-1, num_nodes),
        scores.own_each.reshape(-1, len(places), num_nodes),
        eta,
        scores.second,
        derivatives,
    )


def moved(base: Floats, loads: Floats, stacked: Ints, block: Ints, nodes: Floats) -> Floats:
    """(m, N) what rows read at nodes: base (v n,), and loads (v n, k) on effects.

    Args:
      base, loads: of all stacked rows.
      stacked: (m,) which rows.
      block: (m,) which of the blocks with nodes (l, N, k) each is of.
      nodes: of the effects.
    """
    found = base[stacked][:, None]
    for a in range(nodes.shape[2]):
        found = found + loads[stacked, a, None] * nodes[block, :, a]
    return found


def chunks(place: Place, blocks: Ints, num_nodes: int, times: int = 1) -> list[Ints]:
    """Blocks whose rows times nodes, so many times, are not too many numbers at a time."""
    of = place.of
    rows = (of.ends[blocks + 1] - of.ends[blocks]) * (len(place.base) // len(of.order))
    wide = times * max(1, of.response[-1][:1].size)
    numbers = np.cumsum(np.maximum(rows, 1)) * num_nodes**of.width * wide
    if numbers[-1] < CHUNK:
        return [blocks]
    firsts = np.flatnonzero(np.diff(of.groups[blocks], prepend=-1))
    ends = firsts[1:][np.diff(numbers[firsts] // CHUNK) > 0]
    return [part for part in np.split(blocks, ends) if len(part)]


def log_priors(place: Place, blocks: Ints, nodes: Floats) -> Floats:
    """(l, N) log densities of the blocks' effects at nodes (l, N, k)."""
    k = nodes.shape[2]
    norm = -0.5 * k * np.log(2.0 * np.pi)
    if not place.has_tails:
        return np.asarray(norm - 0.5 * (nodes**2).sum(axis=2))
    found = np.full(nodes.shape[:2], norm)
    for j, df in enumerate(place.freedom):
        has, square = squares(place.of, j, blocks, nodes)
        found[has] += _log_prior(square, df, place.of.plan.sizes[j][1])
    return found


def _log_prior(square: Floats, df: float, k: int) -> Floats:
    """Log density of k effects by Student's t at |u|^2, less the logarithm of (2 pi)^(-k / 2)."""
    if np.isinf(df):
        return np.asarray(-0.5 * square)
    # Gamma((df + k) / 2) / Gamma(df / 2), whose logarithms would be subtracted late.
    norm = gammaln(0.5 * k) - betaln(0.5 * df, 0.5 * k) - 0.5 * k * np.log(0.5 * df)
    return np.asarray(norm - 0.5 * (df + k) * np.log1p(square / df))


def squares(of: Integrand, j: int, blocks: Ints, nodes: Floats) -> tuple[Mask, Floats]:
    """Which blocks (l,) have effects of term j, and the squared lengths (h, N) of these at nodes."""
    count, width = of.plan.sizes[j]
    effects = of.plan.starts[j] + np.arange(count * width).reshape(count, width)
    mine = (of.effects[blocks] >= effects[0, 0]) & (of.effects[blocks] <= effects[-1, -1])
    has = mine.any(axis=1)
    square = np.einsum("lnk,lk->ln", nodes[has] ** 2, mine[has].astype(float))
    return has, square
