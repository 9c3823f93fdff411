"""Traces of M^-1 and log |M| where M is too large to factor: estimated with random signs, errors included.

M^-1 = L^-T diag(I, A^-1) L^-1 with A near the identity. Of f(A) = A^-1 the first two terms around the identity
are known, I and I - A, whose diagonal blocks are 0; likewise of log A. What is left of the trace is worked out
on a few directions V in which A may be nearly singular, and estimated on the complement from the mean of
c'f(A)c over c = (I - V V') z, z of random signs. Each term has its own c: what they would say of each other is
noise, and noise that does not vanish with the term's variance. The same signs serve for all parameters: the
estimates are smooth in them.

References: Hutchinson (1990), Commun. Stat. Simul. Comput. 19, 433-450; Meyer, Musco, Musco, Woodruff (2021),
SIAM Symposium on Simplicity in Algorithms, 142-155, for working out the largest part without error.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.conjugate import Solved, conjugate_gradients
from lmeformula.algebra.crossproducts import Layout, times_blocks
from lmeformula.algebra.eliminated import Eliminated
from lmeformula.arrays import Floats
from lmeformula.design.design import TermBlock

# Directions of small terms are worked out one by one: as many as a set of probes, and without error.
SMALL_TERM = 32
# Probes are solved for side by side, so many at a time.
BATCH = 16
# Relative residual of directions and probes: what they are for is a small part of the whole, with errors that
# are quadratic in the residual, or of random sign.
TOLERANCE = 1e-7
# Relative residual of other equations.
SOLVED = 1e-10


class Probed(NamedTuple):
    """Estimates, and what each probe alone says.

    Attributes:
      traces: (k, k) sum over the levels of the diagonal blocks of M^-1, for each term in formula order.
      each: (m, k, k) the same by each probe; `traces` is their mean.
      log_det: log |M|.
      log_det_each: (m,) the same by each probe.
      solution: (r, c) A^-1 of the further right-hand sides.
      converged: whether all equations were solved to their tolerance.
    """

    traces: tuple[Floats, ...]
    each: tuple[Floats, ...]
    log_det: float
    log_det_each: Floats
    solution: Floats
    converged: bool


class Asked(NamedTuple):
    """Right-hand sides of one kind; attributes as of `Sides`."""

    columns: Floats
    probes: slice | None = None
    is_further: bool = False


class Sides(NamedTuple):
    """Right-hand sides c of A x = c of one kind, solved.

    Attributes:
      columns: (r, s) c.
      solved: the solutions.
      probes: which probes these are, or None for directions V: of those the mean counts, of these the sum.
      is_further: whether these are neither.
    """

    columns: Floats
    solved: Solved
    probes: slice | None
    is_further: bool

    @property
    def place(self) -> slice:
        """Where in an array over all probes these count."""
        return slice(None) if self.probes is None else self.probes


class Signs(NamedTuple):
    """Random signs for the effects of the rest of a design.

    Those of an effect follow from its name: models that share terms share what chance says of them, and their
    difference has less of it.

    Attributes:
      plan: layout of the effects.
      names: (k) of the columns of each term, in formula order.
    """

    plan: Layout
    names: tuple[tuple[str, ...], ...]

    def draw(self, count: int, seed: int) -> Floats:
        """(r, count) of -1 and 1; more columns leave the first as they are."""
        plan = self.plan
        signs = np.empty((plan.num_effects - plan.lead_size, count))
        for j in plan.rest:
            levels, k = plan.sizes[j]
            place = signs[plan.in_rest(j)].reshape(levels, k, count)
            for a, name in enumerate(self.names[j]):
                key = [seed & 0xFFFFFFFF, zlib.crc32(name.encode())]
                for number in range(count):
                    rng = np.random.default_rng([*key, number])
                    place[:, a, number] = 2 * rng.integers(0, 2, levels, dtype=np.int8) - 1
        return signs


def signs_of(plan: Layout, terms: tuple[TermBlock, ...]) -> Signs:
    """Random signs for the effects of `terms`, which `plan` lays out."""
    names = (tuple(f"{column}|{term.group}" for column in term.columns) for term in terms)
    return Signs(plan, tuple(names))


def probe(factor: Eliminated, signs: Floats, right: Floats | None = None) -> Probed:
    """Estimate the traces of M^-1 and log |M|, and solve further equations beside the probes'.

    Args:
      factor: M with its lead term eliminated.
      signs: (r, m) from `Signs`.
      right: (r, c) further right-hand sides of A x = right, to be solved to rounding.
    Returns:
      The estimates.
    """
    return summarize(factor, solve_sides(factor, signs, right), signs.shape[1])


def summarize(factor: Eliminated, solved: Iterable[Sides], count: int) -> Probed:
    """The estimates from solved sides of `count` probes; see `probe`."""
    base = [blocks.sum(axis=0) for blocks in factor.base_blocks()]
    each = [np.zeros((count, len(part), len(part))) for part in base]
    log_dets = np.zeros(count)
    converged = True
    solution = np.zeros((factor.rest_size, 0))
    for sides in solved:
        converged &= sides.solved.converged
        if sides.is_further:
            solution = sides.solved.x
            continue
        for j, found in enumerate(_forms(factor, sides)):
            each[j][sides.place] += found if sides.probes is not None else found.sum(axis=0)
        quadratic = sides.solved.quadrature(_rest_of_log)
        log_dets[sides.place] += quadratic if sides.probes is not None else quadratic.sum()
    log_dets += factor.log_det
    whole = tuple(part + found for part, found in zip(base, each, strict=True))
    return Probed(
        traces=tuple(found.mean(axis=0) for found in whole),
        each=whole,
        log_det=float(log_dets.mean()),
        log_det_each=log_dets,
        solution=solution,
        converged=converged,
    )


def estimate_blocks(factor: Eliminated, solved: Iterable[Sides], count: int) -> tuple[Floats, ...]:
    """(l, k, k) diagonal blocks of M^-1, one array per term in formula order, from sides of `count` probes.

    The part that a crossed design leaves to chance is small: see the module. Blocks are symmetric, and kept
    at least half of what they would be if the other terms were known.
    """
    plan = factor.plan
    blocks = list(factor.base_blocks())
    least = [0.5 * block for block in blocks]
    for sides in solved:
        share = 1.0 if sides.probes is None else 1.0 / count
        right, left = (plan.split(side) for side in spread_sides(factor, sides))
        for j, parts in enumerate(zip(left, right, strict=True)):
            found = np.einsum("las,lbs->lab", *parts)
            blocks[j] += 0.5 * share * (found + found.transpose(0, 2, 1))
    # (L L')^-1 is below M^-1 up to the sign of A - I: half of it is a bound that only noise falls through.
    return tuple(
        np.where((_smallest(block) > _smallest(low))[:, None, None], block, low)
        for block, low in zip(blocks, least, strict=True)
    )


def solve_sides(factor: Eliminated, signs: Floats, right: Floats | None = None) -> Iterator[Sides]:
    """Solve for further sides, the directions V and the probes of one term after the other, side by side."""
    directions = near_null(factor)
    waiting = [Asked(directions)]
    if right is not None:
        waiting.append(Asked(right, is_further=True))
    for place in factor.places():
        if place.stop - place.start <= SMALL_TERM:
            continue
        for start in range(0, signs.shape[1], BATCH):
            probes = slice(start, min(start + BATCH, signs.shape[1]))
            columns = np.zeros((len(signs), probes.stop - start))
            columns[place] = signs[place, probes]
            columns -= directions @ (directions.T @ columns)
            waiting.append(Asked(columns, probes))
            yield from _solve_all(factor, waiting)
            waiting = []
    yield from _solve_all(factor, waiting)


def _solve_all(factor: Eliminated, waiting: list[Asked]) -> Iterator[Sides]:
    """Solve several sets of sides as one block: reading the matrix is what a product costs."""
    waiting = [asked for asked in waiting if asked.columns.shape[1]]
    if not waiting:
        return
    tolerances = [
        np.full(asked.columns.shape[1], SOLVED if asked.is_further else TOLERANCE)
        for asked in waiting
    ]
    right = np.concatenate([asked.columns for asked in waiting], axis=1)
    solved = conjugate_gradients(factor.times, right, np.concatenate(tolerances))
    start = 0
    for columns, probes, is_further in waiting:
        stop = start + columns.shape[1]
        yield Sides(columns, solved.part(slice(start, stop)), probes, is_further)
        start = stop


def _forms(factor: Eliminated, sides: Sides) -> list[Floats]:
    """(s, k, k) of each term, sums over its levels of products of what `spread_sides` gives.

    They are not made symmetric: what is on the left vanishes with Lambda, by which its slopes are divided.
    """
    plan, right = factor.plan, factor.whitened(sides.columns)
    beyond = sides.solved.x + sides.solved.product - 2.0 * sides.columns
    found = {plan.lead: factor.lead_forms(factor.whitened(sides.solved.x - sides.columns), right)}
    for j, one, other in zip(plan.rest, factor.whitened(beyond), right, strict=True):
        levels, k = plan.sizes[j]
        parts = (part.reshape(levels, k, -1) for part in (one, other))
        found[j] = np.einsum("las,lbs->sab", *parts)
    return [found[j] for j in range(len(found))]


def spread_sides(factor: Eliminated, sides: Sides) -> tuple[Floats, Floats]:
    """(q, s) each: the known terms' remainder of L^-T diag(0, A^-1) c, and L^-T (0, c).

    On the lead term only the first known term, I, is taken off.
    """
    size = factor.plan.lead_size
    right = factor.spread_rest(sides.columns)
    left = factor.spread_rest(sides.solved.x - sides.columns)
    # (A^-1 - I - (I - A)) c
    beyond = sides.solved.x + sides.solved.product - 2.0 * sides.columns
    for root, place in zip(factor.roots_inverse, factor.places(), strict=True):
        inside = slice(size + place.start, size + place.stop)
        left[inside] = times_blocks(root, beyond[place], transpose=True)
    return right, left


def near_null(factor: Eliminated) -> Floats:
    """(r, s) orthonormal directions in which A may be nearly singular.

    A constant over the levels of one term can be taken up by another: that is where crossed designs are badly
    determined. So can a constant over those levels that share a level of a small term, such as the teachers of
    a department. Of small terms themselves, all directions.
    """
    size, places = factor.rest_size, factor.places()
    is_small = [place.stop - place.start <= SMALL_TERM for place in places]
    columns = [np.zeros((size, 0))]
    met = factor.products.shares(is_small)
    for number, place in enumerate(places):
        if is_small[number]:
            units = np.zeros((size, place.stop - place.start))
            units[place] = np.eye(place.stop - place.start)
            columns.append(units)
            continue
        root = factor.roots_inverse[number]
        shares = [np.ones((len(root), 1)), *map(_divided, met[number])]
        # In the whitened coordinates of this term a vector over its levels is G' times it.
        turned = np.linalg.inv(root)
        for a in range(root.shape[1]):
            for share in shares:
                column = np.zeros((size, share.shape[1]))
                column[place] = (turned[:, a, :, None] * share[:, None]).reshape(-1, share.shape[1])
                columns.append(column)
    return np.asarray(np.linalg.qr(np.concatenate(columns, axis=1))[0], float)


def _divided(share: Floats) -> Floats:
    """(l, s) how the rows of each level are divided over those of a small term, from how much they meet."""
    # A level may meet others in rows of no weight alone.
    whole = share.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(share, whole, out=share, where=whole > 0.0))


def _rest_of_log(values: Floats) -> Floats:
    """log(a) without its first term around 1, whose trace is zero."""
    return np.asarray(np.log(values) - (values - 1.0))


def _smallest(blocks: Floats) -> Floats:
    """(l,) smallest eigenvalue of each block."""
    if blocks.shape[1] == 1:
        return blocks[:, 0, 0]
    return np.asarray(np.linalg.eigvalsh(blocks)[:, 0])
