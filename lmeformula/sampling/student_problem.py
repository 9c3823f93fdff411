"""A model some of whose effects have heavy tails, as a problem for the engine, and its stand-ins."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import betaln, gammaln, polygamma

from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.incidence import Incidence, find_incidence
from lmeformula.arrays import Floats
from lmeformula.covariance.student import LEAST_FREEDOM, free_of
from lmeformula.em.types import Edge, Geometry, Problem
from lmeformula.likelihood.laplace.information import upright
from lmeformula.likelihood.laplace.likelihood import Mode, find_mode
from lmeformula.likelihood.laplace.likelihood import Problem as Arrays
from lmeformula.likelihood.laplace.modes import arrays_of, place
from lmeformula.model.compile import Model
from lmeformula.model.params import ParamSpace
from lmeformula.sampling import student_prior
from lmeformula.sampling.edges import edge_finder, noticeable
from lmeformula.sampling.laplace import whitening_at, whitening_factor
from lmeformula.sampling.padded import padded_student
from lmeformula.sampling.problem import kind_of, whitened_problem
from lmeformula.sampling.rising import drawn_curvatures, looker
from lmeformula.sampling.student_prior import StudentKind, StudentWhitening

# Steps of second differences of the stand-in's log-likelihood, and how far a second derivative is taken along,
# in standard errors and unconstrained units.
DIFFERENCE, LONG_WAY = 1e-3, 0.3
# The stand-in's precisions have settled when none changes by more than this, relative.
SETTLED = 1e-10
MOST_ROUNDS = 500
# Distances from the Gaussian and from the least degrees of freedom, in units of what is noticeable, of what
# stands for them and of where they are left again.
STAND_IN, RESTART = 0.009, 0.5
# Farther from an end than this it is not tried: the likelihood is flat on the way, and steps are long by noise.
FAR = 2.0
# No step goes by less information about degrees of freedom than this share of what seen effects would have.
LEAST_INFORMATION = 0.1
# The score in 1 / df where effects are Gaussian has this variance for each level, for one coefficient.
SPREAD_OF_SCORE = 3.5


class StandIn(NamedTuple):
    """The Gaussian stand-in at one parameter vector.

    Attributes:
      arrays: the model's, whose columns are divided by the roots of the precisions.
      mode: of v.
      precisions: (l,) d of each level, in formula order; ones where effects are Gaussian.
      value: log joint density of y and v at the mode, in the t model, less that of N(0, I)'s constant.
    """

    arrays: Arrays
    mode: Mode
    precisions: tuple[Floats, ...]
    value: float

    @property
    def log_likelihood(self) -> float:
        """Laplace's approximation with the stand-in's curvature."""
        return self.value - 0.5 * self.mode.factor.log_det


class Search(NamedTuple):
    """What the last search for a stand-in ended with; None where the next one begins anew.

    Attributes:
      precisions: (l,) of each term.
      v: (q,) spherical effects of the stand-in.
      known: parameters (d,), and the information (d, d) there.
    """

    precisions: tuple[Floats, ...] | None = None
    v: Floats | None = None
    known: tuple[Floats, Floats] | None = None


class StudentModel:
    """A model's arrays, and its stand-ins; each search starts from the last one.

    Attributes:
      model: the model.
      plan: layout of its effects.
      arrays: its arrays, with columns as they are.
      held: what searches remember; see `Remembers`.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.plan = layout(model.design.terms)
        self.arrays = arrays_of(model, self.plan)
        self._incidence: Incidence = find_incidence(self.plan)
        self.held = Search()

    def stand_in(self, psi: Floats) -> StandIn:
        """The stand-in at psi (d,).

        Raises:
          numpy.linalg.LinAlgError: where the density is not finite.
        """
        space, plan = self.model.space, self.plan
        freedom = space.freedom(psi)
        at = place(space, psi)
        precisions, v = self.held.precisions, self.held.v
        if precisions is None:
            precisions = tuple(np.ones(levels) for levels, _ in plan.sizes)
        if v is None:
            v = np.zeros(plan.num_effects)
        for _ in range(MOST_ROUNDS):
            arrays = self._scaled(precisions)
            mode = find_mode(arrays, at, v)
            squares = [
                (part**2).sum(axis=1) / d
                for part, d in zip(plan.split(mode.u), precisions, strict=True)
            ]
            following = tuple(
                np.ones_like(d) if np.isinf(df) else (df + k) / (df + square)
                for d, square, df, (_, k) in zip(
                    precisions, squares, freedom, plan.sizes, strict=True
                )
            )
            changes = [a / b for a, b in zip(following, precisions, strict=True)]
            if max(float(np.abs(change - 1.0).max()) for change in changes) < SETTLED:
                break
            moved = [
                part * np.sqrt(change)[:, None]
                for part, change in zip(plan.split(mode.u), changes, strict=True)
            ]
            v, precisions = plan.join(tuple(moved)), following
        self.held = self.held._replace(precisions=precisions, v=mode.u)
        value = (
            mode.value + 0.5 * float(mode.u @ mode.u) + self._prior(squares, precisions, freedom)
        )
        return StandIn(arrays, mode, precisions, value)

    def log_likelihood(self, psi: Floats) -> float:
        """The stand-in's approximation; minus infinity where it is not finite."""
        try:
            found = self.stand_in(psi).log_likelihood
        except np.linalg.LinAlgError:
            self.held = self.held._replace(precisions=None, v=None)
            return -np.inf
        return found if np.isfinite(found) else -np.inf

    def second(self, psi: Floats) -> Floats:
        """(d, d) negative second derivative of `log_likelihood`, by differences."""
        size = len(psi)
        steps = DIFFERENCE * np.eye(size)
        centre = self.log_likelihood(psi)
        found = np.zeros((size, size))
        above = np.array([self.log_likelihood(psi + step) for step in steps])
        below = np.array([self.log_likelihood(psi - step) for step in steps])
        for i in range(size):
            found[i, i] = above[i] + below[i] - 2.0 * centre
            for j in range(i):
                both = self.log_likelihood(psi + steps[i] + steps[j])
                none = self.log_likelihood(psi - steps[i] - steps[j])
                mixed = both + none - above[i] - above[j] - below[i] - below[j] + 2.0 * centre
                found[i, j] = found[j, i] = 0.5 * mixed
        return -found / DIFFERENCE**2

    def information(self, psi: Floats) -> Floats:
        """(d, d) positive definite stand-in for the observed information, worked out again after a long way."""
        if self.held.known is not None:
            where, known = self.held.known
            move = psi - where
            if move @ known @ move < LONG_WAY**2 and np.abs(move).max() < LONG_WAY:
                return known
        known = upright(self.second(psi))
        self.held = self.held._replace(known=(psi.copy(), known))
        return known

    def _scaled(self, precisions: tuple[Floats, ...]) -> Arrays:
        matrices = []
        for term, matrix, d in zip(
            self.model.design.terms, self.plan.matrices, precisions, strict=True
        ):
            rows = np.repeat(1.0 / np.sqrt(d[term.index]), len(term.columns))
            matrices.append(
                sp.csr_array((matrix.data * rows, matrix.indices, matrix.indptr), matrix.shape)
            )
        plan = self.plan.with_matrices(tuple(matrices))
        incidence = replace(self._incidence, plan=plan)
        return self.arrays._replace(plan=plan, factorize=incidence.factorize)

    def _prior(
        self, squares: list[Floats], precisions: tuple[Floats, ...], freedom: tuple[float, ...]
    ) -> float:
        total = 0.0
        for square, d, df, (levels, k) in zip(
            squares, precisions, freedom, self.plan.sizes, strict=True
        ):
            if np.isinf(df):
                total -= 0.5 * float(square.sum())
                continue
            # Gamma((df + k) / 2) / Gamma(df / 2), whose logarithms would be subtracted late.
            norm = gammaln(0.5 * k) - betaln(0.5 * df, 0.5 * k) - 0.5 * k * np.log(0.5 * df)
            total += levels * norm - 0.5 * (df + k) * float(np.log1p(square / df).sum())
            total -= 0.5 * k * float(np.log(d).sum())
        return total


def student_problem(of: StudentModel, start: Floats) -> Problem:
    """The problem of a model with heavy-tailed effects.

    Args:
      of: the model.
      start: (d,) unconstrained parameters, finite.
    Returns:
      The problem.
    """
    model, plan = of.model, of.plan
    space = model.space
    is_student = tuple(space.terms[j].prior.has_df for j in (plan.lead, *plan.rest))
    units = noticeable(model, np.maximum(of.stand_in(start).mode.weights, 0.0))
    sd_edges = edge_finder(space, lambda psi: units)
    problem = whitened_problem(
        model,
        plan,
        start,
        lambda psi: _geometry(of, psi),
        student_prior,
        StudentKind(kind_of(model, plan), is_student),
        padded_student,
    )._replace(
        refine=True, memory=of, edges=lambda psi: (*sd_edges(psi), *freedom_edges(space, psi))
    )
    return problem._replace(
        look=looker(space, lambda psi: units, drawn_curvatures(model, of.arrays, problem))
    )


def whitening_of(of: StudentModel, psi: Floats) -> Geometry:
    """The whitening by the stand-in at psi (d,), and its complete-data information."""
    space, order = of.model.space, (of.plan.lead, *of.plan.rest)
    found = of.stand_in(psi)
    at = whitening_at(space, found.arrays, psi, found.mode, whitening_factor(found.mode.factor))
    freedom = space.freedom(psi)
    white = StudentWhitening(
        at.white,
        tuple(1.0 / np.sqrt(found.precisions[j]) for j in order),
        tuple(np.float64(0.0 if np.isinf(freedom[j]) else free_of(freedom[j])) for j in order),
    )
    return Geometry(white, at.complete)


def _geometry(of: StudentModel, psi: Floats) -> Geometry:
    space, plan = of.model.space, of.plan
    observed = of.information(psi)
    white, complete, _ = whitening_of(of, psi)
    assert complete is not None
    freedom = space.freedom(psi)
    for j, last in _freedom_places(space):
        levels, k = plan.sizes[j]
        complete[last, last] = levels * _information_of_freedom(freedom[j], k)
        least = LEAST_INFORMATION * complete[last, last]
        if observed[last, last] < least:
            observed = observed.copy()
            observed[last, last] = least
    return Geometry(white, complete, observed)


def freedom_edges(space: ParamSpace, psi: Floats) -> tuple[Edge, ...]:
    """Where degrees of freedom end: infinitely many, the Gaussian, and the least.

    The log-likelihood is linear in 1 / df at the one end, and in df - 1 at the other: in squares of distances.
    """
    found = []
    for j, last in _freedom_places(space):
        term = space.terms[j]
        df = space.freedom(psi)[j]
        unit = 1.0 / np.sqrt(SPREAD_OF_SCORE * term.num_levels)
        for name, sign, distance in (("most", 1.0, 1.0 / df), ("least", -1.0, df - LEAST_FREEDOM)):
            places = []
            for ratio in (STAND_IN, RESTART):
                away = min(ratio**2 * unit, 0.5)
                moved = psi.copy()
                moved[last] = np.log(1.0 / away - LEAST_FREEDOM if sign > 0 else away)
                places.append(moved)
            direction = np.zeros((space.size, 1))
            direction[last, 0] = sign
            nearness = float(np.sqrt(distance / unit))
            found.append(
                Edge(
                    name=f"df {term.name} {name}",
                    directions=direction,
                    nearness=nearness if nearness < FAR else np.inf,
                    outside=places[0],
                    inside=places[1],
                )
            )
    return tuple(found)


def _freedom_places(space: ParamSpace) -> list[tuple[int, int]]:
    """Terms with degrees of freedom, and where these are in psi."""
    return [
        (j, place.stop - 1)
        for j, (term, place) in enumerate(zip(space.terms, space.theta_slices, strict=True))
        if term.prior.has_df
    ]


def _information_of_freedom(df: float, k: int) -> float:
    """Expected information of log(df - 1) in one level's effects, if they had been seen."""
    trigammas = 0.25 * float(polygamma(1, 0.5 * df) - polygamma(1, 0.5 * (df + k)))
    found = trigammas - 0.5 * k * (df + k + 4.0) / (df * (df + k) * (df + k + 2.0))
    # Of many degrees of freedom little is left of a difference of large numbers.
    return max(found, 1e-3 * k / df**4) * (df - LEAST_FREEDOM) ** 2
