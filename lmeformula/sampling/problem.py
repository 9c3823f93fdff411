"""What the problems of Gaussian and of other models share: rows, compiled functions, information."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import lapack

from lmeformula.algebra.crossproducts import Layout
from lmeformula.algebra.factor import Factor
from lmeformula.arrays import Floats, Tensor
from lmeformula.em.types import Evaluated, Geometry, Padding, Problem, Scores
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.sampling import whitened
from lmeformula.sampling.padded import padded_rows, padded_whitening
from lmeformula.sampling.room import Room, room_of
from lmeformula.sampling.rows import row_density
from lmeformula.sampling.whitened import Kind, Rows

# Most that one step of a fixed effect moves any predictor: of a logit, or a logarithm, far.
LONGEST = 3.0


def rows_of(model: Model, plan: Layout) -> Rows:
    """The rows of a model, terms in the order of the effects: the lead term first."""
    stack = model.stack
    order = (plan.lead, *plan.rest)
    return Rows(
        response=model.family.response(model.design),
        X=stack.X,
        codes=tuple(stack.terms[j].index for j in order),
        values=tuple(stack.terms[j].values for j in order),
        counts=model.design.frequencies,
        exists=tuple(np.ones(plan.sizes[j][0]) for j in order),
    )


def kind_of(model: Model, plan: Layout) -> Kind:
    """What programs are compiled for of a model, besides the shapes of its arrays."""
    order = (plan.lead, *plan.rest)
    return Kind(
        columns=tuple(plan.sizes[j][1] for j in order),
        formula_order=tuple(order.index(j) for j in range(len(order))),
        has_own=model.space.own.size > 0,
    )


def whitened_problem(
    model: Model,
    plan: Layout,
    start: Floats,
    geometry: Callable[[Floats], Geometry],
    by: Any = whitened,
    kind: Any = None,
    padded: Callable[[Any, Room], Any] = padded_whitening,
) -> Problem:
    """A problem in whitened coordinates.

    Args:
      model: the model.
      plan: layout of its random effects.
      start: (d,) unconstrained parameters to start from.
      geometry: psi (d,) -> Geometry whose arrays are a `Whitening`, or what `by` takes for one.
      by: the module whose `density`, `scores`, `effects_of` and `evaluated` are those of the problem.
      kind: what makes of rows what these take for the sizes of the terms.
      padded: what gives room to a whitening.
    """
    space, family = model.space, model.family
    kind, scale = kind_of(model, plan) if kind is None else kind, space.own.scale
    of_rows, rows = row_density(family, scale), rows_of(model, plan)
    room = room_of(plan, model.design.n, len(rows.X))
    has_priors = model.penalty is not None

    def density(params: Tensor, z: Tensor, white: Any, given: Any) -> tuple[Tensor, Tensor]:
        return by.density(kind.sizes(given), of_rows, white, given, z)  # type: ignore[no-any-return]

    def score(params: Tensor, z: Tensor, gradient: Tensor, white: Any, given: Any) -> Scores:
        found = by.scores(kind.sizes(given), of_rows, white, given, z, gradient)
        return _of_posterior(found, white) if has_priors else found

    def evaluated(params: Tensor, z: Tensor, white: Any, given: Any) -> Evaluated:
        found = by.evaluated(kind.sizes(given), of_rows, white, given, z)
        if has_priors:
            found = found._replace(scores=_of_posterior(found.scores, white))
        return found  # type: ignore[no-any-return]

    return Problem(
        params=start,
        names=space.names,
        latents=np.zeros(plan.num_effects),
        data=rows,
        density=density,
        score=score,
        to_latents=lambda z, white, given: by.effects_of(kind.sizes(given), white, given, z),
        evaluated=evaluated,
        # The chains start at the conditional modes.
        to_position=lambda latents, white: np.zeros(plan.num_effects),
        report=lambda psi: (space.to_report(psi), space.report_jacobian(psi)),
        geometry=geometry,
        max_step=_longest_step(model),
        # All that the functions above are made of.
        program=(by.__name__, kind, family, scale, has_priors),
        padding=Padding(
            latents=room.effects.places,
            num_latents=room.effects.size,
            data=lambda given: padded_rows(given, room),
            arrays=lambda white: padded(white, room),
        ),
    )


def _of_posterior(scores: Any, white: Any) -> Scores:
    """Scores of the likelihood times the priors: these are the same at all draws."""
    slope = white.prior[:, None]
    return Scores(scores.raw + slope, scores.controlled + slope)


def complete_information(
    space: ParamSpace, plan: Layout, changes: tuple[Floats, ...], coefficients: Floats
) -> Floats:
    """Expected information of psi if the random effects had been seen.

    Args:
      space: the parameter space.
      plan: layout of the random effects.
      changes: (t, k, k) Lambda^-1 d Lambda / d theta of each term.
      coefficients: (p + f, p + f) information of the fixed effects and of the family's own parameters.
    """
    information = np.zeros((space.size, space.size))
    places = [*range(space.num_fixed), *range(space.own_slice.start, space.own_slice.stop)]
    information[np.ix_(places, places)] = coefficients
    for (levels, _), change, place in zip(plan.sizes, changes, space.theta_slices, strict=True):
        both = change + change.transpose(0, 2, 1)
        information[place, place] = 0.5 * levels * np.einsum("sab,tba->st", both, both)
    return information


def inverse_factor(factor: Factor) -> Floats:
    """(r, r) inverse of the Cholesky factor of the Schur complement."""
    if not factor.plan.rest:
        return np.zeros((0, 0))
    inverse, status = lapack.dtrtri(factor.rest, lower=1)
    if status != 0:
        raise np.linalg.LinAlgError("the Schur complement is singular")
    return np.tril(inverse)


def relative_changes(
    space: ParamSpace, psi: Floats, factors: tuple[Floats, ...]
) -> tuple[Floats, ...]:
    """(t, k, k) Lambda^-1 d Lambda / d theta of each term, at its factor Lambda (k, k)."""
    pairs = zip(factors, space.factor_changes(psi), strict=True)
    return tuple(np.asarray(np.linalg.solve(factor, change), float) for factor, change in pairs)


def _longest_step(model: Model) -> Floats:
    """A standard deviation changes at most by a factor of e, a predictor that is not the mean by some units.

    Where the mean is the predictor itself Newton's steps are right, however long.
    """
    space, stack = model.space, model.stack
    fixed = np.full(space.num_fixed, np.inf)
    if not model.family.is_normal and model.family.link != "identity":
        size = np.abs(stack.X).max(axis=0, initial=0.0)
        fixed = LONGEST / np.where(size > 0, size, 1.0)
    return np.concatenate([fixed, np.ones(space.size - space.num_fixed)])
