"""Rows of blocks at nodes: their log densities and derivatives, and the prior of the effects there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import betaln, gammaln

from lmeformula.arrays import Floats, Ints, Mask
from lmeformula.family import ClosedForm, Scores, Slopes
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.laplace.rows import RowDerivatives, derivatives_of, stacked_form
from lmeformula.likelihood.quadrature.integrand import Integrand

# Densities evaluated at a time: as many numbers as a processor keeps at hand.
CHUNK = 100_000


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
        is_written = of.frequency is None and family.closed and family.serves(of.response)
        base = of.model.stack.offset + X @ at.beta
        closed = family.closed if is_written else None
        return cls(of, at, closed, base, of.loads(at.lambdas), freedom)

    @property
    def has_tails(self) -> bool:
        """Whether some effects are not Gaussian."""
        return any(np.isfinite(df) for df in self.freedom)


class Reading(NamedTuple):
    """Which rows read some blocks; nothing of it hangs on parameters.

    Attributes:
      blocks: (l,) the blocks.
      block: (m,) which of them each row is of, ascending.
      stacked: (v m,) the rows' places in the stack, which begins with those of the predictors.
      stacked_block: (v m,) which of the blocks each of these is of.
      firsts: where the rows of the blocks that have some begin.
      filled: which of the blocks these are.
      by_block: (K m,) the rows of the predictors, block by block.
      ends: (l + 1,) where each block begins among them.
      derivatives: of the rows, each at so many nodes.
    """

    blocks: Ints
    block: Ints
    stacked: Ints
    stacked_block: Ints
    firsts: Ints
    filled: Ints
    by_block: Ints
    ends: Ints
    derivatives: RowDerivatives

    @classmethod
    def of(cls, place: Place, blocks: Ints, num_nodes: int) -> Reading:
        """That of blocks, each with so many nodes."""
        of, n = place.of, len(place.of.order)
        counts = of.ends[blocks + 1] - of.ends[blocks]
        block = np.repeat(np.arange(len(blocks)), counts)
        within = np.arange(len(block)) - np.repeat(np.cumsum(counts) - counts, counts)
        places = of.order[np.repeat(of.ends[blocks], counts) + within]
        mixture = of.model.stack.mixture._replace(num_rows=len(places) * num_nodes)
        size, k = len(mixture.readers), mixture.num_predictors
        in_columns = place.closed is not None and place.closed.takes_columns
        response = tuple(
            array
            if not np.ndim(array)
            else array[places, None]
            if in_columns
            else np.repeat(array[places], num_nodes, axis=0)
            for array in of.response
        )
        if place.closed is not None and in_columns:
            form = at_nodes(place.closed, num_nodes)
        else:
            times = None if of.frequency is None else np.repeat(of.frequency[places], num_nodes)
            form = place.closed or stacked_form(of.model.family, response, mixture, times)
        return cls(
            blocks=blocks,
            block=block,
            stacked=(np.arange(size)[:, None] * n + places).ravel(),
            stacked_block=np.tile(block, size),
            firsts=(np.cumsum(counts) - counts)[counts > 0],
            filled=np.flatnonzero(counts),
            by_block=np.argsort(np.tile(block, k), kind="stable"),
            ends=np.concatenate([[0], np.cumsum(k * counts)]),
            derivatives=derivatives_of(form, response, of.model.space.own.scale, mixture),
        )

    @property
    def num_read(self) -> int:
        """K m, how many of the stacked rows are those of the predictors."""
        return len(self.by_block)

    def sums(self, of_rows: Floats) -> Floats:
        """(l, N) sums over the rows of each block, of what is said of each row (m, N)."""
        if len(self.filled) == len(self.blocks):
            return np.asarray(np.add.reduceat(of_rows, self.firsts, axis=0))
        found = np.zeros((len(self.blocks), of_rows.shape[1]))
        if len(self.firsts):
            found[self.filled] = np.add.reduceat(of_rows, self.firsts, axis=0)
        return found

    def products(self, columns: Floats, of_rows: Floats) -> Floats:
        """(c, l, N) sums over each block's rows of the predictors, of columns (K m, c) times (K m, N)."""
        c, rows = columns.shape[1], self.num_read
        starts = (np.arange(c)[:, None] * rows + self.ends[:-1]).ravel()
        matrix = sp.csr_array(
            (
                columns[self.by_block].T.ravel(),
                np.tile(self.by_block, c),
                np.append(starts, c * rows),
            ),
            shape=(c * len(self.blocks), rows),
        )
        return np.asarray(matrix @ of_rows).reshape(c, len(self.blocks), -1)


class Rows(NamedTuple):
    """The rows of some blocks at their nodes.

    Attributes:
      reading: which rows they are.
      values: (m, N) log densities.
      first: (K m, N) their slopes in the predictors.
      own_each: (f, m, N) those in the own parameters.
      eta: (K m, N) their predictors.
      second: (v m N,) the rows' second derivatives, where they came along.
    """

    reading: Reading
    values: Floats
    first: Floats
    own_each: Floats
    eta: Floats
    second: Floats | None

    def log_densities(self) -> Floats:
        """(l, N) of each block's rows; far out, where one overflows, it is nil."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.reading.sums(self.values)
        return np.where(np.isnan(found), -np.inf, found)


def rows_at(place: Place, blocks: Ints, nodes: Floats) -> Rows:
    """The rows of blocks at nodes (l, N, k)."""
    num_nodes = nodes.shape[1]
    reading = _reading(place, blocks, num_nodes)
    read = slice(reading.num_read)
    eta = moved(place.base, place.loads, reading.stacked[read], reading.stacked_block[read], nodes)
    scores = reading.derivatives.scores(eta.ravel(), place.at.own)
    return Rows(
        reading,
        scores.values.reshape(-1, num_nodes),
        scores.first.reshape(-1, num_nodes),
        # Levels without rows may be by themselves: there is nothing to tell the number of parameters from.
        scores.own_each.reshape(len(scores.own_each), len(reading.block), num_nodes),
        eta,
        scores.second,
    )


def _reading(place: Place, blocks: Ints, num_nodes: int) -> Reading:
    """Which rows read blocks: kept for the next time where all are asked for, and are few."""
    of = place.of
    if len(blocks) < of.size or len(of.order) * num_nodes > CHUNK:
        return Reading.of(place, blocks, num_nodes)
    known: Reading | None = of.readings.get(num_nodes)
    if known is None:
        known = of.readings[num_nodes] = Reading.of(place, blocks, num_nodes)
    return known


def at_nodes(form: ClosedForm, num_nodes: int) -> ClosedForm:
    """Derivatives of rows at nodes, whose responses are columns; for `depths` it is not asked."""

    def slopes(eta: Floats, columns: tuple[Floats, ...], own: Floats) -> Slopes:
        found = form.slopes(eta.reshape(-1, num_nodes), columns, own)
        return Slopes(*(each.reshape(-1) for each in found))

    def scores(eta: Floats, columns: tuple[Floats, ...], own: Floats) -> Scores:
        values, first, second = slopes(eta, columns, own)
        in_own = np.zeros((0, len(eta)))
        if len(own):
            in_own = form.depths(eta.reshape(-1, num_nodes), columns, own).own_each
        return Scores(values, first, in_own.reshape(len(own), len(eta)), second)

    return ClosedForm(slopes, form.depths, scores)


def times_mass(mass: Floats, values: Floats) -> Floats:
    """What is said of rows at nodes, times their mass; nothing where there is none.

    Where a node has no mass its density may not be finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        found = mass * values
        if np.isfinite(found.sum()):
            return np.asarray(found)
        return np.where(mass > 0.0, found, 0.0)


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
    """Blocks whose rows, or which so many times, times nodes are not too many numbers at a time."""
    of = place.of
    rows = (of.ends[blocks + 1] - of.ends[blocks]) * (len(place.base) // len(of.order))
    wide = max(1, of.response[-1][:1].size)
    numbers = np.cumsum(np.maximum(rows * wide, times)) * num_nodes**of.width
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
