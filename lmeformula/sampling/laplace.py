"""A model of any family as a problem for the engine, whitened by the Laplace approximation to its posterior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.factor import Factor
from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.algebra.meetings import Factored
from lmeformula.algebra.probed import NearFactor, ProbedFactor
from lmeformula.arrays import Floats
from lmeformula.checkpoint.memory import Remembered
from lmeformula.em.types import Geometry, Problem
from lmeformula.family import Depths
from lmeformula.likelihood.laplace.information import complete_block, upright
from lmeformula.likelihood.laplace.likelihood import Mode
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.likelihood.laplace.modes import KnownMode, mode_at, slopes_in_psi
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.model.penalty import Penalty
from lmeformula.sampling.edges import edge_finder, moved_to_edges, noticeable
from lmeformula.sampling.problem import (
    complete_information,
    inverse_factor,
    relative_changes,
    whitened_problem,
)
from lmeformula.sampling.rising import drawn_curvatures, looker
from lmeformula.sampling.roots import BlockRoot
from lmeformula.sampling.variates import bend_and_cubic
from lmeformula.sampling.whitened import Cubic, Whitening

# Parameters within this many standard errors of those that a mode is known at take its derivatives from there.
NEARBY = 0.01


def laplace_problem(
    model: Model, arrays: Arrays, start: Floats, observed: Floats, u: Floats | None = None
) -> Problem:
    """The problem of a model of any family.

    Args:
      model: the model.
      arrays: its arrays, with X as it is in the model.
      start: (d,) unconstrained parameters: the maximum of the Laplace approximation, finite.
      observed: (d, d) observed information there, the metric of the steps.
      u: (q,) spherical effects near their mode there, if such are known.
    Returns:
      The problem.
    """
    space, plan = model.space, arrays.plan
    first = mode_at(model, arrays, start, np.zeros(plan.num_effects) if u is None else u)
    of_first = whitening_factor(first.factor)
    directions = None if isinstance(of_first, Factor) else of_first.directions
    # A step towards the next mode is worth solutions with M where those are cheap.
    slopes = np.zeros((space.size, plan.num_effects))
    if isinstance(of_first, Factor):
        depths = arrays.rows.depths(first.eta, first.at.own)
        slopes = slopes_in_psi(space, arrays, start, first, depths)
    memory = Remembered(KnownMode(start, first.u, slopes))

    def look(psi: Floats) -> tuple[Geometry, Mode, AtMode]:
        mode = mode_at(model, arrays, psi, memory.held.mode_at(psi))
        factor = whitening_factor(mode.factor, directions)
        at = whitening_at(space, arrays, psi, mode, factor, model.penalty)
        bends, bend, cubic = bend_and_cubic(
            space, arrays, mode, factor, at.depths, at.white.pull, at.changes
        )
        white = at.white._replace(bend=bend, bends=bends, cubic=cubic)
        return Geometry(white, at.complete, observed), mode, at

    def geometry(psi: Floats) -> Geometry:
        known: KnownMode = memory.held
        found, mode, at = look(psi)
        move = psi - known.coordinates
        if directions is not None:
            memory.held = KnownMode(psi, mode.u, slopes)
        elif move @ observed @ move > NEARBY**2:
            memory.held = KnownMode(psi, mode.u, slopes_in_psi(space, arrays, psi, mode, at.depths))
        return found

    units = noticeable(model, arrays.rows.held(first.weights))
    edges = edge_finder(space, lambda psi: units)
    problem = whitened_problem(model, plan, moved_to_edges(start, edges), geometry)
    at_edges = None
    if model.penalty is None:
        # Of priors only the scores at the edges know.
        at_edges = looker(space, lambda psi: units, drawn_curvatures(model, arrays, problem))
    return problem._replace(
        refine=True, nearby=lambda psi: look(psi)[0], edges=edges, look=at_edges, memory=memory
    )


class AtMode(NamedTuple):
    """What the sampler knows at a mode.

    Attributes:
      white: the whitening, without the quadratic and the cubic control variate.
      complete: (d, d) expected complete-data information.
      depths: the rows' further derivatives.
      changes: (t, k, k) Lambda^-1 d Lambda / d theta of each term, in formula order.
    """

    white: Whitening
    complete: Floats
    depths: Depths
    changes: tuple[Floats, ...]


def whitening_at(
    space: ParamSpace,
    arrays: Arrays,
    psi: Floats,
    mode: Mode,
    factor: Factor | NearFactor,
    penalty: Penalty | None = None,
) -> AtMode:
    """The whitening by a factor at psi (d,), whose conditional mode is `mode`."""
    plan, factors = arrays.plan, mode.at.lambdas
    order = (plan.lead, *plan.rest)
    root = whitening_root(factor)
    changes = relative_changes(space, psi, factors)
    depths = arrays.rows.depths(mode.eta, mode.at.own)
    columns, square = complete_block(arrays, mode, depths)
    crossed = plan.gather(columns)
    white = Whitening(
        eta=mode.eta,
        modes=mode.u,
        weights=mode.weights,
        factors=tuple(factors[j] for j in order),
        lead_inverse=root.lead_inverse,
        rest_inverse=root.rest_inverse,
        pull=-apply_lambda(plan, factors, crossed, transpose=True),
        traces=tuple(root.traces[j] for j in order),
        changes=tuple(changes[j] for j in order),
        levels=tuple(np.float64(plan.sizes[j][0]) for j in order),
        bend=np.zeros((len(mode.eta), space.size)),
        bends=np.zeros(space.size),
        cubic=(),
        extra=psi[space.own_slice],
    )
    complete = complete_information(space, plan, changes, upright(square))
    if penalty is not None:
        white = white._replace(prior=penalty.in_psi(psi)[1])
        complete = complete + upright(penalty.information_in_psi(psi))
    return AtMode(white, complete, depths, changes)


def blank_problem(model: Model) -> tuple[Problem, Whitening]:
    """A problem whose programs are those of the model's own, and arrays of the shapes that they take."""
    plan = layout(model.stack.terms)
    blank = blank_whitening(model, plan)
    nothing = Geometry(blank)
    return whitened_problem(model, plan, np.zeros(model.space.size), lambda psi: nothing), blank


def blank_whitening(model: Model, plan: Layout) -> Whitening:
    """A whitening of the shapes that those of a model have, with a dense rest; its values mean nothing."""
    space, order = model.space, (plan.lead, *plan.rest)
    n, q = len(model.stack.X), plan.num_effects
    m = space.num_fixed + space.own.size
    (levels, k), rest = plan.sizes[plan.lead], q - plan.lead_size
    squares = tuple(np.eye(plan.sizes[j][1]) for j in order)
    counts = [space.theta_slices[j].stop - space.theta_slices[j].start for j in order]
    return Whitening(
        eta=np.zeros(n),
        modes=np.zeros(q),
        weights=np.zeros(n),
        factors=squares,
        lead_inverse=np.zeros((levels, k, k)),
        rest_inverse=np.zeros((rest, rest)),
        pull=np.zeros((q, m)),
        traces=squares,
        changes=tuple(
            np.zeros((count, *square.shape)) for count, square in zip(counts, squares, strict=True)
        ),
        levels=tuple(np.float64(plan.sizes[j][0]) for j in order),
        bend=np.zeros((n, space.size)),
        bends=np.zeros(space.size),
        cubic=()
        if model.design.num_predictors > 1
        else Cubic(
            half=np.zeros(n),
            twist=np.zeros((n, space.size)),
            blocks=tuple(
                np.zeros((plan.sizes[j][0], space.size, plan.sizes[j][1], plan.sizes[j][1]))
                for j in order
            ),
            linear=np.zeros((q, space.size)),
        ),
        extra=np.zeros(space.own.size),
        prior=() if model.penalty is None else np.zeros(space.size),
    )


class WhiteningRoot(NamedTuple):
    """L, with L L' the precision that the sampler's coordinates take away: M, or what stands for it.

    Attributes:
      lead_inverse: (l, k, k) inverse roots of the lead term's blocks.
      rest_inverse: the inverse root of the rest.
      traces: (k, k) sum of the diagonal blocks of (L L')^-1 of each term, in formula order.
    """

    lead_inverse: Floats
    rest_inverse: Floats | BlockRoot
    traces: tuple[Floats, ...]


def whitening_root(factor: Factor | NearFactor) -> WhiteningRoot:
    """What whitens the effects: the factor itself, or the blocks and directions of one that is not dense."""
    if isinstance(factor, Factor):
        return WhiteningRoot(factor.lead_inverse, inverse_factor(factor), factor.inverse_traces())
    eliminated = factor.of.eliminated
    blocks = eliminated.roots_inverse
    return WhiteningRoot(
        eliminated.lead_inverse,
        BlockRoot(blocks, factor.directions, factor.stretch) if blocks else np.zeros((0, 0)),
        factor.inverse_traces(),
    )


def whitening_factor(
    factor: Factored | ProbedFactor, directions: Floats | None = None
) -> Factor | NearFactor:
    """What the sampler's coordinates take away: M, or what stands for it.

    Args:
      factor: M.
      directions: of what stands for it; with the same ones it moves smoothly with the parameters.
    """
    # Effects of independent levels alone are drawn.
    assert isinstance(factor, Factor | ProbedFactor)
    return factor if isinstance(factor, Factor) else factor.near(directions)


def directions_of(white: Whitening) -> Floats | None:
    """The directions of what stands for M in these coordinates, if there are such."""
    root = white.rest_inverse
    return root.directions if isinstance(root, BlockRoot) else None
