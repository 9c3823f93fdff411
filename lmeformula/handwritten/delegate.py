"""A recognised structure -> the model of a formula, its problem, and the solution in the variables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.algebra.crossproducts import Layout, layout
from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, ResponseBlock, TermBlock
from lmeformula.em.generic import with_digits
from lmeformula.em.loop import run
from lmeformula.em.outcome import Outcome
from lmeformula.em.progress import Progress
from lmeformula.em.types import Options, Problem, Solution
from lmeformula.errors import LmeFormulaError
from lmeformula.family.built_in import FAMILIES
from lmeformula.formula import parse
from lmeformula.handwritten.structure import Effects, NotRecognised, Structure, recognise
from lmeformula.likelihood.laplace.fit import Care, fit_laplace
from lmeformula.likelihood.laplace.observed import observed_information
from lmeformula.model.bounds import off_bounds
from lmeformula.model.compile import Model, compile
from lmeformula.sampling.gaussian import gaussian_problem
from lmeformula.sampling.laplace import laplace_problem

# (class of the rows' distribution, its parameter that is the predictor) -> family.
SEEN = {family.tfp: family for family in FAMILIES.values() if family.tfp is not None}


def solver_of(
    pinned: Any,
    variables: Sequence[Any],
    bijectors: Sequence[Any],
    latents: Sequence[tuple[str, int]],
    seed: int,
) -> Callable[..., Solution] | None:
    """What solves a pinned joint distribution by the structure that it has, or None where none is seen.

    Args:
      pinned: a JointDistributionPinned.
      variables: its unconstrained parameters.
      bijectors: of each to its natural values, or None.
      latents: (name, size) of its parts in the order of the engine's latents.
      seed: of the random places that it is tried at.
    """
    try:
        structure = recognise(pinned, variables, bijectors, seed)
        return _Delegate(structure, model_of(structure), variables, bijectors, latents)
    except (NotRecognised, NotImplementedError, LmeFormulaError, TypeError, ValueError):
        # Not what a formula could say: the density alone is enough.
        return None


def model_of(structure: Structure) -> Model:
    """The compiled model that says the same.

    Raises:
      NotRecognised: for a response that no family of the package has.
      LmeFormulaError: for a design that cannot be estimated.
    """
    family = SEEN.get((structure.distribution, structure.parameter))
    if family is None:
        raise NotRecognised(f"rows are {structure.distribution}({structure.parameter})")
    trials, sigma = None, None
    if family.has_trials:
        trials = np.broadcast_to(structure.others["total_count"], structure.response.shape)
    if family.is_normal and structure.residual is None:
        scales = np.unique(structure.others["scale"])
        if len(scales) != 1:
            raise NotRecognised("residual standard deviations differ")
        sigma = float(scales[0])
    names = tuple(f"x{k}" for k in range(structure.X.shape[1]))
    terms = tuple(_term(part, f"g{k}") for k, part in enumerate(structure.effects))
    text = " + ".join(["y ~ 0", *names, *(f"(0 + z{k} | g{k})" for k in range(len(terms)))])
    design = Design(
        formula=parse(text),
        response=ResponseBlock("y", "numeric", structure.response, trials=trials),
        X=structure.X,
        names=names,
        terms=terms,
        offsets=(structure.offset,),
        weights=None,
        rows=np.arange(len(structure.response)),
    )
    return compile(design, family, sigma=sigma)


def _term(part: Effects, name: str) -> TermBlock:
    # Latents that no row reads say nothing of the parameters.
    levels, index = np.unique(part.reads, return_inverse=True)
    return TermBlock(
        name=name,
        columns=("Intercept",) if (part.weights == 1.0).all() else ("z",),
        values=part.weights[:, None],
        group=name,
        factors=(name,),
        levels=tuple(str(level) for level in levels),
        index=index.astype(np.int32),
    )


class _Element(NamedTuple):
    """Where a parameter of the model lies among the variables' elements, and the way between them.

    Attributes:
      place: in the flat vector of all variables.
      is_scale: whether it is a standard deviation, of which the model has the logarithm.
      bijector: of the variable behind a standard deviation; None if that is the variable itself.
    """

    place: int
    is_scale: bool
    bijector: Any = None

    def to_variable(self, value: float) -> tuple[float, float]:
        """The variable's value at the model's parameter, and its derivative in that."""
        if not self.is_scale:
            return value, 1.0
        at = tf.constant(value, tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(at)
            sd = tf.exp(at)
            found = sd if self.bijector is None else self.bijector.inverse(sd)
        return float(found), float(tape.gradient(found, at))


class _Delegate:
    """Runs the engine on the model's own problem; called as `Problem.solver` is."""

    def __init__(
        self,
        structure: Structure,
        model: Model,
        variables: Sequence[Any],
        bijectors: Sequence[Any],
        latents: Sequence[tuple[str, int]],
    ) -> None:
        self.model = model
        self.problem: Problem | None = None
        starts = np.cumsum([0, *(int(np.prod(v.shape)) for v in variables)])
        scales = [part.scale for part in structure.effects]
        scales += [] if structure.residual is None else [structure.residual]
        self.places = (
            *(_Element(int(starts[k]) + element, False) for k, element in structure.coefficients),
            *(_Element(int(starts[k]), True, bijectors[k]) for k in scales),
        )
        if sorted(place.place for place in self.places) != list(range(starts[-1])):
            raise NotRecognised("not every variable takes part")
        # Where each parameter of the variables is in the model.
        self.of = np.argsort([place.place for place in self.places])
        self.latents = _Latents.of(structure, model, latents)

    def __call__(
        self, problem: Problem, options: Options, seed: int, dtype: str, progress: Progress | None
    ) -> Solution:
        """Find the maximum, in the variables' own values."""
        with one_blas_thread():
            if self.problem is None:
                self.problem = self._problem(problem)
            watched = self.latents.in_model(options.watched)
            found = with_digits(
                run(
                    self.problem,
                    options._replace(watched=watched),
                    seed=seed,
                    dtype=dtype,
                    progress=progress,
                )
            )
        return self._in_variables(problem, self.problem, found)

    def _problem(self, outer: Problem) -> Problem:
        model = self.model
        if model.family.is_normal:
            made = gaussian_problem(model)
        else:
            found = fit_laplace(model, care=Care(looks_far=False))
            psi, inside = off_bounds(model.space, model.space.to_free(found.params))
            mode = found.approximation.mode.u
            information = observed_information(model, found.problem, psi, inside, mode).matrix
            information = information + np.diag(np.where(inside, 0.0, 1.0))
            made = laplace_problem(model, found.problem, psi, information, mode)

        def report(psi: Floats) -> tuple[Floats, Floats]:
            params, rates = self._variables(psi)
            values, jacobian = outer.report(params)
            changes = np.zeros((len(psi), len(psi)))
            changes[np.arange(len(psi)), self.of] = rates[self.of]
            return values, jacobian @ changes

        return made._replace(names=outer.names, report=report)

    def _variables(self, psi: Floats) -> tuple[Floats, Floats]:
        """(d,) the variables' elements at the model's parameters; their derivatives, in the model's order."""
        pairs = [
            place.to_variable(float(value)) for place, value in zip(self.places, psi, strict=True)
        ]
        values, rates = np.array(pairs).reshape(-1, 2).T
        return values[self.of], rates

    def _in_variables(self, outer: Problem, inner: Problem, found: Solution) -> Solution:
        (params, rates), of = self._variables(found.params), self.of

        def vector(values: Floats) -> Floats:
            return np.asarray((rates * values)[of])

        def covariance(matrix: Floats) -> Floats:
            return np.asarray((matrix * np.outer(rates, rates))[np.ix_(of, of)])

        def curvature(matrix: Floats) -> Floats:
            return np.asarray((matrix / np.outer(rates, rates))[np.ix_(of, of)])

        info = found.info
        if info is not None:
            info = info._replace(
                score=(info.score / rates)[of],
                step=vector(info.step),
                distance=vector(info.distance),
                mc_covariance=covariance(info.mc_covariance),
                stderr=vector(info.stderr),
                observed=curvature(info.observed),
                reduction=info.reduction[of],
                latent_mean=self.latents.in_parts(info.latent_mean, np.zeros(len(self.places))),
                latent_variance=self.latents.in_parts(info.latent_variance, 2.0 * found.params),
            )
        edges = () if inner.edges is None else inner.edges(found.params)
        noise, outcome, held = covariance(found.mc_covariance), found.outcome, {}
        for edge in edges:
            if edge.name in found.held:
                # It is at zero, and a stand-in stands for that: the error of its logarithm covers both.
                inner_place = int(np.argmax(np.abs(edge.directions[:, 0])))
                place = self.places[inner_place].place
                noise[place, place] = rates[inner_place] ** 2
                held[edge.name] = outer.names[place]
        if found.held and outcome.converged:
            outcome = Outcome.BOUNDARY
        return found._replace(
            params=params,
            outcome=outcome,
            mc_covariance=noise,
            information=curvature(found.information),
            # That is in the model's coordinates.
            monte_carlo=None,
            held=tuple(f"sd {held.get(name, name)}" for name in found.held),
            basis=found.basis[of],
            info=info,
            sampled_at=self._variables(found.sampled_at)[0],
            method="recognised",
        )


class _Latents(NamedTuple):
    """Where the model's effects are among the latents of the joint distribution.

    Attributes:
      order: (q,) the place among all latents of each effect, in the model's order.
      scales: (Q,) for each latent the place of its log standard deviation among the model's parameters.
    """

    order: Ints
    scales: Ints

    @classmethod
    def of(cls, structure: Structure, model: Model, latents: Sequence[tuple[str, int]]) -> _Latents:
        """For a structure's model, whose latents lie in this order."""
        plan: Layout = layout(model.stack.terms)
        names, sizes = zip(*latents, strict=True)
        starts = dict(zip(names, np.cumsum([0, *sizes[:-1]]), strict=True))
        parts = structure.effects
        order = [starts[parts[j].name] + np.unique(parts[j].reads) for j in (plan.lead, *plan.rest)]
        at = {part.name: model.space.theta_slices[j].start for j, part in enumerate(parts)}
        scales = [np.full(size, at[name]) for name, size in latents]
        return cls(np.concatenate(order), np.concatenate(scales))

    def in_model(self, watched: tuple[int, ...]) -> tuple[int, ...]:
        """Latents that are watched, in the model's order of effects; those that no row reads are left out."""
        back = {int(place): k for k, place in enumerate(self.order)}
        return tuple(back[place] for place in watched if place in back)

    def in_parts(self, values: Floats, unread: Floats) -> Floats:
        """(Q,) values of the model's effects in the order of the latents.

        Of latents that no row reads the posterior is the prior: mean zero, and exp(2 log sd) its variance.
        """
        found = np.exp(unread[self.scales]) if unread.any() else np.zeros(len(self.scales))
        found[self.order] = values
        return found
