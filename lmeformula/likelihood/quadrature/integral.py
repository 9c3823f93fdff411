"""The likelihood of a model whose blocks of effects are small, by quadrature: exact, with a numerical error.

A block has one or two effects of its own, or shares the first of two with others: given an effect of the outer
of two nested factors, those of the inner one are integrated each by itself.

A block gets more nodes until nothing moves. The gradient is the posterior mean of the complete-data score
(Fisher's identity), at the same nodes; so are the means and covariances of the effects.

References: Pinheiro, Bates (1995), J. Comput. Graph. Stat. 4, 12-35, for nodes around modes; Louis (1982),
J. R. Stat. Soc. B 44, 226-233, for Fisher's identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import betaln, digamma, gammaln, logsumexp

from lmeformula.algebra.crossproducts import Layout
from lmeformula.arrays import Codes, Floats, Ints, Mask
from lmeformula.family import ClosedForm
from lmeformula.likelihood.laplace.likelihood import At
from lmeformula.likelihood.laplace.rows import derivatives_of, stacked_form
from lmeformula.likelihood.quadrature.blocks import blocks_of
from lmeformula.likelihood.quadrature.nodes import NUMS_NODES, WIDEST, Frame, change
from lmeformula.model.compile import Model

# Prior standard deviations that nodes reach beyond mode and centre, the chance that a heavy tail may have out
# there, and how far they reach for it at most.
REACH, TAIL, FARTHEST = 9.0, 1e-10, 1e8
# A block gets more nodes until half of them change nothing by more than this: what all of them leave is about
# its square, as the rule converges geometrically.
SETTLED = 3e-5
# A logarithm whose rounding is more than that does not settle: a density is next to nil everywhere.
WITHOUT_DIGITS = SETTLED / np.finfo(float).eps
# Densities evaluated at a time.
CHUNK = 1_000_000


class Integrand(NamedTuple):
    """A model whose blocks have at most `WIDEST` effects.

    Attributes:
      model: the model.
      plan: layout of its effects.
      of_rows: (n,) the block of each row of the data.
      effects: (l, k) which effects each block reads; -1 where it has fewer than k.
      groups: (l,) which blocks share their first effect, ascending; each its own where none do.
      local: (q,) place of each effect in its blocks.
      order: (n,) rows of the data, block by block.
      ends: (l + 1,) where each block's rows start in `order`.
      response: the response arrays.
    """

    model: Model
    plan: Layout
    of_rows: Ints
    effects: Ints
    groups: Ints
    local: Ints
    order: Ints
    ends: Ints
    response: tuple[Floats, ...]

    @property
    def size(self) -> int:
        """l, the number of blocks."""
        return len(self.effects)

    @property
    def width(self) -> int:
        """k, most effects in a block."""
        return int(self.effects.shape[1])

    @property
    def is_nested(self) -> bool:
        """Whether blocks share effects."""
        return bool(self.groups[-1] + 1 < self.size)

    def densities(self, number: int = 0) -> int:
        """How many densities of rows an evaluation takes, with the number of nodes at that place for all."""
        return int(len(self.model.stack.X) * NUMS_NODES[self.width][number] ** self.width)

    def by_block(self, effects: Floats) -> Floats:
        """(l, k) of each block, from (q,) in the order of the layout; zeros where there is no effect."""
        return np.where(self.effects >= 0, effects[self.effects], 0.0)


def integrand(model: Model, plan: Layout) -> Integrand | None:
    """What is to be integrated; None where some block is too wide."""
    found = _separate(model, plan) or _nested(model, plan)
    if found is None:
        return None
    of_rows, effects, groups = found
    local = np.zeros(plan.num_effects, np.int64)
    for place in range(effects.shape[1]):
        has = effects[:, place] >= 0
        local[effects[has, place]] = place
    order = np.argsort(of_rows, kind="stable")
    return Integrand(
        model=model,
        plan=plan,
        of_rows=of_rows,
        effects=effects,
        groups=groups,
        local=local,
        order=order,
        ends=np.searchsorted(of_rows[order], np.arange(len(effects) + 1)),
        response=model.family.response(model.design),
    )


def _separate(model: Model, plan: Layout) -> tuple[Ints, Ints, Ints] | None:
    """Blocks that share nothing: of each row, their effects, and their groups."""
    blocks = blocks_of(model, plan)
    if blocks.widest > WIDEST:
        return None
    by_block = np.argsort(blocks.of_effects, kind="stable")
    of_effects = blocks.of_effects[by_block]
    firsts = np.searchsorted(of_effects, np.arange(blocks.size))
    effects = np.full((blocks.size, blocks.widest), -1)
    effects[of_effects, np.arange(len(by_block)) - firsts[of_effects]] = by_block
    return blocks.of_rows, effects, np.arange(blocks.size)


def _nested(model: Model, plan: Layout) -> tuple[Ints, Ints, Ints] | None:
    """The same of one effect a level of two factors, one nested in the other."""
    terms, n = model.stack.terms, model.design.n
    if len(terms) != 2 or any(len(term.columns) != 1 for term in terms):
        return None
    for outer, inner in ((0, 1), (1, 0)):
        above, below = (np.asarray(terms[j].index[:n], np.int64) for j in (outer, inner))
        pairs = np.unique(np.stack([above, below], axis=1), axis=0)
        if len(pairs) == plan.sizes[inner][0]:
            # Levels of the inner one in the order of the outer one's.
            block = np.empty(len(pairs), np.int64)
            block[pairs[:, 1]] = np.arange(len(pairs))
            effects = pairs + np.array([plan.starts[outer], plan.starts[inner]])
            return block[below], effects, np.unique(pairs[:, 0], return_inverse=True)[1]
    return None


class Integral:
    """The log-likelihood at some parameters, with its derivatives, and the effects given the data.

    Attributes:
      value: the log-likelihood.
      error: the square of what half the nodes change in each group of blocks, about its error.
      in_beta: (p,) its derivative in the fixed effects.
      in_factors: (k, k) its derivative in Lambda, one for each term.
      in_own: (f,) its derivative in the family's own parameters, unconstrained.
      in_freedom: its derivative in log(df - 1) of each term; zero of Gaussian ones.
      means: (l, k) of the spherical effects of each block.
      covariances: (l, k, k) of these.
      numbers: (l,) place of each block's number of nodes among `NUMS_NODES`.
      changes: (l,) what half of these nodes change.
    """

    def __init__(self, of: Integrand, at: At) -> None:
        size, k = of.size, of.width
        self.value = self.error = 0.0
        self.in_beta = np.zeros(len(at.beta))
        self.in_factors = tuple(np.zeros_like(factor) for factor in at.lambdas)
        self.in_own = np.zeros(len(at.own))
        self.in_freedom = np.zeros(len(at.lambdas))
        self.means, self.covariances = np.zeros((size, k)), np.zeros((size, k, k))
        self.numbers, self.changes = np.zeros(size, np.int64), np.zeros(size)


class InPsi(NamedTuple):
    """The log-likelihood at one parameter vector: its value, numerical error, and gradient (d,) in psi."""

    value: float
    error: float
    gradient: Floats


class _Place(NamedTuple):
    """An integrand at some parameters.

    Attributes:
      of, at: which, and where.
      closed: derivatives of the rows, where they are written out.
      X: (v n, p) columns that the fixed effects are of.
      base: (v n,) predictors without effects.
      loads: (v n, k) columns of Z Lambda, by their places in the blocks.
      freedom: degrees of freedom of each term; empty where all effects are Gaussian.
    """

    of: Integrand
    at: At
    closed: ClosedForm | None
    X: Floats
    base: Floats
    loads: Floats
    freedom: tuple[float, ...]


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
    """
    stack, k = of.model.stack, of.width
    base = stack.offset + X @ at.beta
    loads = np.zeros((len(base), k))
    for j, (term, factor) in enumerate(zip(stack.terms, at.lambdas, strict=True)):
        columns = of.local[_effects_of_rows(of.plan, j, term.index)]
        np.put_along_axis(loads, columns, term.values @ factor, axis=1)
    family = of.model.family
    is_written = family.closed is not None and family.serves(of.response)
    place = _Place(of, at, family.closed if is_written else None, X, base, loads, tuple(freedom))
    frame = _frame(place, modes, weights, precisions)
    found, left, nums = Integral(of, at), np.ones(of.size, bool), NUMS_NODES[k]
    if first is not None:
        found.numbers[:] = first
    while left.any():
        number = int(found.numbers[left].min())
        num_nodes, is_last = nums[number], number + 1 == len(nums)
        now = np.flatnonzero(left & (found.numbers == number))
        for blocks in _chunks(place, now, num_nodes):
            nodes, logs = frame.nodes(blocks, num_nodes)
            rows = _rows(place, blocks, nodes)
            firsts = np.flatnonzero(np.diff(of.groups[blocks], prepend=-1))
            value, shares = (
                _shared(logs, nodes, rows.log_densities(len(blocks)), firsts)
                if of.is_nested
                else _alone(
                    logs, _log_priors(place, blocks, nodes), rows.log_densities(len(blocks))
                )
            )
            error = np.maximum.reduceat(change(nodes, shares, num_nodes), firsts)
            has_digits = np.abs(found.value + value) < WITHOUT_DIGITS
            settled = (error <= SETTLED) | is_last | ~has_digits
            sizes = np.diff(firsts, append=len(blocks))
            done = np.repeat(settled, sizes)
            left[blocks[done]], found.numbers[blocks[~done]] = False, number + 1
            found.changes[blocks] = np.repeat(error, sizes)
            found.value += float(value[settled].sum())
            found.error += float((error[settled] ** 2).sum())
            shares[~done] = 0.0
            _add_effects(found, blocks[done], nodes[done], shares[done])
            _add_slopes(found, place, rows, nodes, shares)
            _add_freedom(found, place, blocks, nodes, shares)
    return found


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
    logs = logs + priors + rows
    value = logsumexp(logs, axis=1)
    with np.errstate(invalid="ignore"):
        return value, np.exp(logs - value[:, None])


def _shared(weights: Floats, nodes: Floats, rows: Floats, firsts: Ints) -> tuple[Floats, Floats]:
    """The same of groups (g,) of blocks that share their first effect, groups beginning at `firsts`."""
    num = weights.shape[2]
    u, v = nodes.reshape(-1, num, num, 2)[:, :, 0, 0], nodes[:, :, 1].reshape(-1, num, num)
    half = 0.5 * np.log(2.0 * np.pi)
    inner = weights[:, 1, None] - 0.5 * v**2 - half + rows.reshape(-1, num, num)
    each = logsumexp(inner, axis=2)
    total = np.add.reduceat(each, firsts, axis=0)
    total += (weights[:, 0] - 0.5 * u**2 - half)[firsts]
    value = logsumexp(total, axis=1)
    sizes = np.diff(firsts, append=len(u))
    with np.errstate(invalid="ignore"):
        outer = np.repeat(np.exp(total - value[:, None]), sizes, axis=0)
        shares = np.exp(inner - each[:, :, None]) * outer[:, :, None]
    shares = np.where(outer[:, :, None] > 0.0, shares, 0.0)
    return value, shares.reshape(len(u), -1)


def _frame(place: _Place, modes: Floats, weights: Floats, precisions: Floats | None) -> Frame:
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


def _reach(place: _Place) -> float:
    least = min(place.freedom, default=np.inf)
    return REACH if np.isinf(least) else min(FARTHEST, max(REACH, TAIL ** (-1.0 / least)))


def _effects_of_rows(plan: Layout, j: int, index: Codes) -> Ints:
    """(v n, k) which effects of a term each row reads."""
    k = plan.sizes[j][1]
    return np.asarray(plan.starts[j] + k * index.astype(np.int64)[:, None] + np.arange(k))


def _chunks(place: _Place, blocks: Ints, num_nodes: int) -> list[Ints]:
    """Blocks whose rows times nodes are not too many numbers at a time."""
    of = place.of
    rows = (of.ends[blocks + 1] - of.ends[blocks]) * (len(place.base) // len(of.order))
    wide = max(1, of.response[-1][:1].size)
    numbers = np.cumsum(np.maximum(rows, 1)) * num_nodes**of.width * wide
    firsts = np.flatnonzero(np.diff(of.groups[blocks], prepend=-1))
    ends = firsts[1:][np.diff(numbers[firsts] // CHUNK) > 0]
    return [part for part in np.split(blocks, ends) if len(part)]


class _Rows(NamedTuple):
    """The rows of some blocks at their nodes.

    Attributes:
      stacked: (K m,) their places in the stack, which begins with the rows of the predictors.
      block: (m,) which of the blocks each is of.
      times: K.
      values: (m, N) log densities.
      first: (K m, N) their slopes in the predictors.
      own_each: (f, m N) those in the own parameters.
    """

    stacked: Ints
    block: Ints
    times: int
    values: Floats
    first: Floats
    own_each: Floats

    def log_densities(self, num_blocks: int) -> Floats:
        """(l, N) of each block's rows; far out, where one overflows, it is nil."""
        found = np.zeros((num_blocks, self.values.shape[1]))
        if len(self.block):
            firsts = np.flatnonzero(np.diff(self.block, prepend=-1))
            with np.errstate(over="ignore", invalid="ignore"):
                found[self.block[firsts]] = np.add.reduceat(self.values, firsts, axis=0)
        return np.asarray(np.nan_to_num(found, nan=-np.inf, neginf=-np.inf, posinf=np.inf))


def _rows(place: _Place, blocks: Ints, nodes: Floats) -> _Rows:
    of, n, num_nodes = place.of, len(place.of.order), nodes.shape[1]
    counts = of.ends[blocks + 1] - of.ends[blocks]
    block = np.repeat(np.arange(len(blocks)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    places = of.order[np.repeat(of.ends[blocks], counts) + within]
    times = of.model.stack.mixture.num_predictors
    stacked = (np.arange(times)[:, None] * n + places).ravel()
    eta = np.repeat(place.base[stacked][:, None], num_nodes, axis=1)
    for a in range(of.width):
        eta += place.loads[stacked, a, None] * nodes[np.tile(block, times), :, a]
    response = tuple(
        np.repeat(array[places], num_nodes, axis=0) if np.ndim(array) else array
        for array in of.response
    )
    mixture = of.model.stack.mixture._replace(num_rows=len(places) * num_nodes)
    form = place.closed or stacked_form(of.model.family, response, mixture)
    derivatives = derivatives_of(form, response, of.model.space.own.scale, mixture)
    scores = derivatives.scores(eta.ravel(), place.at.own)
    values, first = scores.values.reshape(-1, num_nodes), scores.first.reshape(-1, num_nodes)
    return _Rows(stacked, block, times, values, first, scores.own_each)


def _log_priors(place: _Place, blocks: Ints, nodes: Floats) -> Floats:
    """(l, N) log densities of the blocks' effects at nodes (l, N, k)."""
    k = nodes.shape[2]
    found = np.full(nodes.shape[:2], -0.5 * k * np.log(2.0 * np.pi))
    if not _has_tails(place):
        return np.asarray(found - 0.5 * (nodes**2).sum(axis=2))
    for j, df in enumerate(place.freedom):
        has, square = _squares(place, j, blocks, nodes)
        found[has] += _log_prior(square, df, place.of.plan.sizes[j][1])
    return found


def _has_tails(place: _Place) -> bool:
    return any(np.isfinite(df) for df in place.freedom)


def _log_prior(square: Floats, df: float, k: int) -> Floats:
    """Log density of k effects by Student's t at |u|^2, less the logarithm of (2 pi)^(-k / 2)."""
    if np.isinf(df):
        return np.asarray(-0.5 * square)
    # Gamma((df + k) / 2) / Gamma(df / 2), whose logarithms would be subtracted late.
    norm = gammaln(0.5 * k) - betaln(0.5 * df, 0.5 * k) - 0.5 * k * np.log(0.5 * df)
    return np.asarray(norm - 0.5 * (df + k) * np.log1p(square / df))


def _squares(place: _Place, j: int, blocks: Ints, nodes: Floats) -> tuple[Mask, Floats]:
    """Which blocks (l,) have effects of term j, and the squared lengths (h, N) of these at nodes."""
    of = place.of
    count, width = of.plan.sizes[j]
    effects = of.plan.starts[j] + np.arange(count * width).reshape(count, width)
    mine = (of.effects[blocks] >= effects[0, 0]) & (of.effects[blocks] <= effects[-1, -1])
    has = mine.any(axis=1)
    square = np.einsum("lnk,lk->ln", nodes[has] ** 2, mine[has].astype(float))
    return has, square


def _add_effects(found: Integral, blocks: Ints, nodes: Floats, shares: Floats) -> None:
    means = np.einsum("ln,lnk->lk", shares, nodes)
    away = nodes - means[:, None]
    found.means[blocks] = means
    found.covariances[blocks] = np.einsum("ln,lna,lnb->lab", shares, away, away, optimize=True)


def _add_slopes(found: Integral, place: _Place, rows: _Rows, nodes: Floats, shares: Floats) -> None:
    """Add what the rows of blocks say, with posterior probabilities (l, N) at the nodes."""
    if not len(rows.block):
        return
    stack, block = place.of.model.stack, np.tile(rows.block, rows.times)
    mass = shares[block]
    # Where a node has no mass its density may not be finite.
    slopes = np.where(mass > 0.0, mass * rows.first, 0.0)
    total = slopes.sum(axis=1)
    found.in_beta += place.X[rows.stacked].T @ total
    moments = np.stack(
        [np.einsum("mn,mn->m", slopes, nodes[block, :, a]) for a in range(nodes.shape[2])], axis=1
    )
    for j, (term, in_factor) in enumerate(zip(stack.terms, found.in_factors, strict=True)):
        index, values = term.index[rows.stacked], term.values[rows.stacked]
        columns = place.of.local[_effects_of_rows(place.of.plan, j, index)]
        in_factor += values.T @ np.take_along_axis(moments, columns, axis=1)
    if len(found.in_own):
        weights = shares[rows.block].ravel()
        found.in_own += np.where(weights > 0.0, rows.own_each * weights, 0.0).sum(axis=1)


def _add_freedom(
    found: Integral, place: _Place, blocks: Ints, nodes: Floats, shares: Floats
) -> None:
    """Add the derivatives in log(df - 1), on which no column depends."""
    for j, df in enumerate(place.freedom):
        if np.isinf(df):
            continue
        k = place.of.plan.sizes[j][1]
        has, square = _squares(place, j, blocks, nodes)
        slope = digamma(0.5 * (df + k)) - digamma(0.5 * df) - k / df - np.log1p(square / df)
        slope += (df + k) * square / (df * (df + square))
        found.in_freedom[j] += 0.5 * (df - 1.0) * float((shares[has] * slope).sum())
