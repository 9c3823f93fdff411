"""The likelihood of a model whose blocks of effects are small, by quadrature: exact, with a numerical error.

A block gets more nodes until nothing moves. The gradient is the posterior mean of the complete-data score
(Fisher's identity), at the same nodes; so are the means and covariances of the effects.

References: Pinheiro, Bates (1995), J. Comput. Graph. Stat. 4, 12-35, for nodes around modes; Louis (1982),
J. R. Stat. Soc. B 44, 226-233, for Fisher's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from lmeformula.arrays import Floats, Ints
from lmeformula.likelihood.laplace.directions import Directions
from lmeformula.likelihood.laplace.row_sums import At
from lmeformula.likelihood.quadrature.information import Information
from lmeformula.likelihood.quadrature.integrand import Integrand
from lmeformula.likelihood.quadrature.nodes import NUMS_NODES, Frame, change, moments
from lmeformula.likelihood.quadrature.rows import (
    Place,
    chunks,
    log_priors,
    rows_at,
    squares,
    times_mass,
)

# Prior standard deviations that nodes reach beyond mode and centre, the chance that a heavy tail may have out
# there, and how far they reach for it at most.
REACH, TAIL, FARTHEST = 9.0, 1e-10, 1e8
# A block gets more nodes until half of them change nothing by more than this: what all of them leave is about
# its square, as the rule converges geometrically.
SETTLED = 3e-5
# A log-likelihood is not known of which blocks leave so much to which the most nodes are not enough.
UNKNOWN = 1e-6
# A logarithm whose rounding is more than that does not settle: a density is next to nil everywhere.
WITHOUT_DIGITS = SETTLED / np.finfo(float).eps


class Integral:
    """The log-likelihood at some parameters, with its derivatives, and the effects given the data.

    Attributes:
      value: the log-likelihood.
      error: the square of what half the nodes change in each group of blocks, about its error.
      left: the part of it that is of groups to which the most nodes are not enough.
      in_beta: (p,) its derivative in the fixed effects.
      in_factors: (k, k) its derivative in Lambda, one for each term.
      in_own: (f,) its derivative in the family's own parameters, unconstrained.
      in_freedom: its derivative in log(df - 1) of each term; zero of Gaussian ones.
      information: (m, m) its negative second derivative along directions, if some were asked for.
      means: (l, k) of the spherical effects of each block.
      covariances: (l, k, k) of these.
      logs: (l,) log integral of each group of blocks, at the first of them.
      numbers: (l,) place of each block's number of nodes among `NUMS_NODES`.
      changes: (l,) what half of these nodes change.
    """

    def __init__(self, of: Integrand, at: At) -> None:
        size, k = of.size, of.width
        self.value = self.error = self.left = 0.0
        self.in_beta = np.zeros(len(at.beta))
        self.in_factors = tuple(np.zeros_like(factor) for factor in at.lambdas)
        self.in_own = np.zeros(len(at.own))
        self.in_freedom = np.zeros(len(at.lambdas))
        self.information: Floats | None = None
        self.means, self.covariances = np.zeros((size, k)), np.zeros((size, k, k))
        self.logs, self.changes = np.zeros(size), np.zeros(size)
        self.numbers = np.zeros(size, np.int64)

    @property
    def is_known(self) -> bool:
        """Whether the most nodes were enough, and there is a number."""
        return bool(self.left < UNKNOWN and np.isfinite(self.value))


class InPsi(NamedTuple):
    """The log-likelihood at one parameter vector: its value, numerical error, and gradient (d,) in psi."""

    value: float
    error: float
    gradient: Floats


def integrate(
    of: Integrand,
    at: At,
    X: Floats,
    modes: Floats,
    weights: Floats,
    *,
    precisions: Floats | None = None,
    freedom: Sequence[float] = (),
    first: Ints | None = None,
    along: Directions | None = None,
) -> Integral:
    """The log-likelihood and its derivatives.

    Args:
      of: the integrand.
      at: the parameters.
      X: (v n, p) columns that the fixed effects are of.
      modes: (q,) spherical effects around which nodes are laid, in the order of the layout.
      weights: (v n,) information of the rows on their predictors there, nowhere negative.
      precisions: (q,) of the effects' prior there; ones by default, as for Gaussian effects.
      freedom: degrees of freedom of each term's effects; none where all are Gaussian, as blocks must have
        them that share effects.
      first: (l,) the place of each block's number of nodes to begin with.
      along: directions of the parameters in which to work out the information too; of Gaussian effects.
    """
    place = Place.there(of, at, X, tuple(freedom))
    found, information = Integral(of, at), None if along is None else Information(place, along)
    if first is not None:
        found.numbers[:] = first
    frame = _frame(place, modes, weights, precisions)
    slopes, pulls = sum_nodes(place, frame, found, information)
    found.in_beta += X.T @ slopes
    for term, columns, in_factor in zip(
        of.model.stack.terms, of.columns, found.in_factors, strict=True
    ):
        in_factor += term.values.T @ np.take_along_axis(pulls, columns, axis=1)
    if information is not None:
        found.information = information.total(slopes)
    return found


def sum_nodes(
    place: Place, frame: Frame, found: Integral, information: Information | None = None
) -> tuple[Floats, Floats]:
    """Sum over nodes, of each block so many that nothing moves.

    Args:
      place: the integrand at some parameters.
      frame: where its nodes lie.
      found: what the sums go into, but for what is of rows; its numbers of nodes are those to begin with.
      information: what is to be worked out besides.
    Returns:
      (v n,) posterior means of the rows' slopes, and (v n, k) of these times the effects that they read.
    """
    of = place.of
    nums, left = NUMS_NODES[of.width], np.ones(of.size, bool)
    slopes, pulls = np.zeros(len(place.base)), np.zeros((len(place.base), of.width))
    times = 1 if information is None else information.along.size
    while left.any():
        number = int(found.numbers[left].min())
        num_nodes, is_last = nums[number], number + 1 == len(nums)
        now = np.flatnonzero(left & (found.numbers == number))
        for blocks in chunks(place, now, num_nodes, times):
            nodes, logs = frame.nodes(blocks, num_nodes)
            rows = rows_at(place, blocks, nodes)
            densities = rows.log_densities()
            firsts = np.flatnonzero(np.diff(of.groups[blocks], prepend=-1))
            value, shares = (
                _shared(logs, nodes, densities, firsts)
                if of.is_nested
                else _alone(logs, log_priors(place, blocks, nodes), densities)
            )
            means, covariances = moments(nodes, shares)
            each = change(nodes, shares, num_nodes, means, covariances)
            error = np.maximum.reduceat(each, firsts)
            has_digits = np.abs(found.value + value) < WITHOUT_DIGITS
            settled = (error <= SETTLED) | ~has_digits
            if is_last:
                found.left += float((error[~settled] ** 2).sum())
                settled[:] = True
            sizes = np.diff(firsts, append=len(blocks))
            done = np.repeat(settled, sizes)
            left[blocks[done]], found.numbers[blocks[~done]] = False, number + 1
            if not done.any():
                continue
            found.changes[blocks] = np.repeat(error, sizes)
            found.value += float(value[settled].sum())
            found.logs[blocks[firsts][settled]] = value[settled]
            found.error += float((error[settled] ** 2).sum())
            found.means[blocks], found.covariances[blocks] = means, covariances
            shares[~done] = 0.0
            reading = rows.reading
            read, of_block = reading.stacked[: reading.num_read], reading.stacked_block
            mass = shares[of_block]
            mean = times_mass(mass[: reading.num_read], rows.first)
            slopes[read] = mean.sum(axis=1)
            for a in range(of.width):
                effects = nodes[of_block[: reading.num_read], :, a]
                pulls[read, a] = np.einsum("mn,mn->m", mean, effects)
            if len(found.in_own):
                own_mass = mass[: len(reading.block)]
                for s, own in enumerate(rows.own_each):
                    found.in_own[s] += float(times_mass(own_mass, own).sum())
            _add_freedom(found, place, blocks, nodes, shares)
            if information is not None:
                information.add(nodes, frame.centre[blocks], rows, mass, shares)
    return slopes, pulls


def _alone(weights: Floats, priors: Floats, rows: Floats) -> tuple[Floats, Floats]:
    """Log integrals (l,) of blocks that share nothing, and the shares (l, N) of the nodes in them.

    Args:
      weights: (l, k, N) log weights of the nodes along each axis.
      priors: (l, N) log densities of the effects.
      rows: (l, N) those of the rows.
    """
    logs = weights[:, 0]
    if weights.shape[1] == 2:
        logs = (logs[:, :, None] + weights[:, 1, None]).reshape(priors.shape)
    return _normalized(logs + priors + rows)


def _normalized(logs: Floats) -> tuple[Floats, Floats]:
    """Logarithms of the sums over the last axis of exp(logs), and what each is of them; nan of nothing."""
    top = logs.max(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.exp(logs - np.where(np.isfinite(top), top, 0.0)[..., None])
        total = parts.sum(axis=-1)
        return np.where(np.isfinite(top), top + np.log(total), top), parts / total[..., None]


def _shared(weights: Floats, nodes: Floats, rows: Floats, firsts: Ints) -> tuple[Floats, Floats]:
    """The same of groups (g,) of blocks that share their first effect, groups beginning at `firsts`."""
    num = weights.shape[2]
    u, v = nodes.reshape(-1, num, num, 2)[:, :, 0, 0], nodes[:, :, 1].reshape(-1, num, num)
    half = 0.5 * np.log(2.0 * np.pi)
    inner = weights[:, 1, None] - 0.5 * v**2 - half + rows.reshape(-1, num, num)
    each, within = _normalized(inner)
    total = np.add.reduceat(each, firsts, axis=0)
    total += (weights[:, 0] - 0.5 * u**2 - half)[firsts]
    value, outer = _normalized(total)
    sizes = np.diff(firsts, append=len(u))
    outer = np.repeat(outer, sizes, axis=0)
    with np.errstate(invalid="ignore"):
        shares = np.where(outer[:, :, None] > 0.0, within * outer[:, :, None], 0.0)
    return value, shares.reshape(len(u), -1)


def _frame(place: Place, modes: Floats, weights: Floats, precisions: Floats | None) -> Frame:
    """Nodes by the negative second derivative of each block's log joint density."""
    of, k = place.of, place.of.width
    prior = np.ones((of.size, k))
    if precisions is not None:
        prior = np.where(of.effects >= 0, of.by_block(precisions), 1.0)
    found = np.einsum("la,ab->lab", prior, np.eye(k))
    for a in range(k):
        for b in range(k):
            each = (weights * place.loads[:, a] * place.loads[:, b]).reshape(-1, len(of.order))
            found[:, a, b] += np.bincount(of.of_rows, each.sum(axis=0), minlength=of.size)
    shared = None
    if of.is_nested:
        # What rows say of the shared effect, each with its own one moving along.
        own = found[:, 0, 0] - 1.0 - found[:, 0, 1] ** 2 / found[:, 1, 1]
        shared = np.asarray(1.0 + np.bincount(of.groups, own)[of.groups], float)
    return Frame.of(of.by_block(modes), found, _reach(place), shared)


def _reach(place: Place) -> float:
    least = min(place.freedom, default=np.inf)
    return REACH if np.isinf(least) else min(FARTHEST, max(REACH, TAIL ** (-1.0 / least)))


def _add_freedom(
    found: Integral, place: Place, blocks: Ints, nodes: Floats, shares: Floats
) -> None:
    """Add the derivatives in log(df - 1), on which no column depends."""
    for j, df in enumerate(place.freedom):
        if np.isinf(df):
            continue
        k = place.of.plan.sizes[j][1]
        has, square = squares(place.of, j, blocks, nodes)
        slope = digamma(0.5 * (df + k)) - digamma(0.5 * df) - k / df - np.log1p(square / df)
        slope += (df + k) * square / (df * (df + square))
        found.in_freedom[j] += 0.5 * (df - 1.0) * float((shares[has] * slope).sum())
