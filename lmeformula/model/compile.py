"""Design + family -> Model: what is fitted, with its TFP joint distribution built on first use."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lmeformula.algebra.orthogonal import triangle
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.covariance.table import KNOWN, structure_of
from lmeformula.design.checks import check_design
from lmeformula.design.design import Design
from lmeformula.design.observations import roughly_by_observation
from lmeformula.design.outline import outline
from lmeformula.design.shards import shards_of
from lmeformula.design.side_by_side import joined, written_terms
from lmeformula.errors import ModelError
from lmeformula.family import Family
from lmeformula.family import family as find_family
from lmeformula.family.predicted import predicted_of, with_predictors
from lmeformula.formula.kinds import KINDS
from lmeformula.model.equation import build_equation
from lmeformula.model.graph import Graph, build_graph
from lmeformula.model.no_residual import STAND_IN, own_term, without_residual
from lmeformula.model.over_parts import (
    expanded,
    with_categories,
    without_columns,
    without_intercept,
)
from lmeformula.model.params import Params, ParamSpace, param_space
from lmeformula.model.penalty import Penalty
from lmeformula.model.priors import NO_PRIORS, Priors, check_given, priors_left, priors_of
from lmeformula.model.residual import check_residual
from lmeformula.model.stack import Stack, stack
from lmeformula.model.start import starting_predictors
from lmeformula.rows.parts import Part

if TYPE_CHECKING:
    from lmeformula.model.joint import Joint

DTYPES = ("float64", "float32")
# Of fields, where responses are not normal.
MOST_POSITIONS = 100


@dataclass(frozen=True, eq=False)
class Model:
    """A design and a response family: everything that the likelihood depends on but the parameters.

    TensorFlow is imported only when `joint` or what hangs on it is asked for.

    Attributes:
      design: the arrays.
      family: the response's family.
      space: the layout of the parameters.
      dtype: "float64" or "float32", of the joint distribution and of Monte Carlo fits.
      estimates: what the variables of `joint` hold: those of the fit whose `model` this is; None for a model
        that was compiled, whose variables hold the start.
      known_start: where a fit is to start; None for rough parameters.
      priors: those of parameters, by which a fit's estimates are the posterior mode; none for maximum
        likelihood.
    """

    design: Design
    family: Family
    space: ParamSpace
    dtype: str = "float64"
    estimates: Params | None = None
    known_start: Params | None = None
    priors: Priors = NO_PRIORS

    def __getstate__(self) -> dict[str, Any]:
        # What is built on first use is built anew: TensorFlow's variables do not go into a pickle.
        kept = ("start", *(field.name for field in fields(self)))
        return {name: value for name, value in vars(self).items() if name in kept}

    @property
    def sigma(self) -> float | None:
        """The residual standard deviation where the user fixed it; zero where there is none."""
        return 0.0 if self.space.has_no_residual else self.space.held_sd

    def at(self, params: Params) -> Model:
        """The same model with a joint distribution of its own, whose variables hold these parameters."""
        found = replace(self, estimates=params)
        # What does not depend on them is not worked out again.
        vars(found).update({k: v for k, v in vars(self).items() if k in ("start", "stack")})
        return found

    def responding(self, design: Design) -> Model:
        """The same model of the same rows with another response: how rows are stacked stays."""
        found = replace(self, design=design)
        vars(found).update({k: v for k, v in vars(self).items() if k == "stack"})
        return found

    def starting(self, params: Params | None) -> Model:
        """The same model with fits that start from these parameters; from where they always do for None."""
        return self if params is None else replace(self, known_start=params)

    @cached_property
    def start(self) -> Params:
        """Rough parameters: what the variables of `joint` hold in a model that was not fitted."""
        if self.known_start is not None:
            return self.known_start
        family, design = self.family, roughly_by_observation(outline(self.design))
        working = family.working(family.response(design))
        return starting_predictors(design, self.space, family, working)

    @cached_property
    def stack(self) -> Stack:
        """The arrays as the methods read them: the design's own, but for models with several predictors."""
        return stack(self.design, self.units)

    @cached_property
    def penalty(self) -> Penalty | None:
        """The log density of the priors; None without any."""
        return Penalty(self.priors, self.space) if self.priors else None

    @cached_property
    def triangle(self) -> Floats:
        """(p, p) R of X = Q R: what takes fixed effects to coefficients of orthogonal columns."""
        if self.design.shards is None:
            return self.stack.triangle()
        corners = self.design.shards.parts.ask(_triangle, self.units)
        return corners[0] if len(corners) == 1 else triangle(np.concatenate(corners))

    @property
    def units(self) -> Floats:
        """(K,) what each linear predictor is measured in: the response's unit for one that is the mean."""
        if self.family.is_normal:
            first = self.start.residual_sd
        else:
            first = 1.0 if self.family.link != "identity" else self._spread()
        return np.array([first, *(1.0 for _ in self.design.predictors[1:])])

    def _spread(self) -> float:
        design = roughly_by_observation(outline(self.design))
        working = self.family.working(self.family.response(design))
        # The quartiles of a normal distribution are 1.35 sds apart; a few rows far out do not move them.
        low, high = np.quantile(working, [0.25, 0.75])
        return float(high - low) / 1.35 or float(working.std()) or 1.0

    @cached_property
    def tfp_joint(self) -> Joint:
        """The joint distribution with its variables, part names and observed response."""
        from lmeformula.model.joint import build_joint

        return build_joint(
            self.design,
            self.start if self.estimates is None else self.estimates,
            family=self.family,
            sigma=self.space.held_sd,
            dtype=self.dtype,
        )

    @property
    def joint(self) -> Any:
        """The tfd.JointDistributionNamed: a part for each random-effects term and one for the response."""
        return self.tfp_joint.distribution

    @property
    def prior_joint(self) -> Any:
        """The joint distribution of parameters, effects and response, to draw from; see `build_prior_joint`."""
        from lmeformula.model.prior_joint import build_prior_joint

        return build_prior_joint(self.design, self.family, self.space, self.priors, self.dtype)

    @property
    def trainable_variables(self) -> tuple[Any, ...]:
        """The tf.Variables of `joint`: intercept, effects, standard deviations, correlations, sigma."""
        return self.tfp_joint.trainable_variables

    def graph(self) -> Graph:
        """The model as a graph: text in the REPL, SVG in a notebook where graphviz is there."""
        return build_graph(self.design, family=self.family, sigma=self.sigma)

    def equation(self) -> Any:
        """The model as an equation: text in the REPL, LaTeX in a notebook."""
        return build_equation(self.design, family=self.family, sigma=self.sigma, priors=self.priors)

    def __repr__(self) -> str:
        design, terms = self.design, self.design.terms
        effects = sum(len(term.levels) * len(term.columns) for term in terms)
        groups = ", ".join(f"{len(term.levels)} {term.name}" for term in terms)
        return (
            f"Model: {design.formula}\n"
            f"family {self.family.name} ({self.family.link}), {design.n} rows, "
            f"{len(design.names)} fixed effects, {effects} random effects ({groups})"
        )


@kinds.takes(
    design=kinds.instance(Design, "Give what lf.design returns."),
    sigma=kinds.optional(kinds.not_negative),
    dtype=kinds.one_of(*DTYPES),
    priors=check_given,
)
def compile(
    design: Design,
    family: str | Family = "gaussian",
    *,
    sigma: float | None = None,
    dtype: str = "float64",
    priors: Mapping[str, Any] | None = None,
) -> Model:
    """Compile a design and a family into a model.

    Args:
      design: from `lmeformula.design`.
      family: of the response, by name, with a link in parentheses where another than the usual is meant:
        "gaussian", "bernoulli", "binomial", "poisson", "cumulative(probit)"; or one of `lmeformula.Family`.
      sigma: fix the residual standard deviation at this, in units of the response; estimated by default. With 0
        there is no residual, and a term such as us(0 + visit | subject) has the responses' covariance; it is 0
        for a design from {"mu": ..., "sigma": "~ 0"}.
      dtype: "float64" (default), or "float32": half the memory, and Monte Carlo fits to about five digits.
      priors: of parameters by what they are of, such as {"b": "normal(0, 2.5)", "sd(g)": "gamma(2.5, 0)"}; see
        `lmeformula.fit`.
    Returns:
      The model; nothing slow has happened yet.
    Raises:
      ModelError: if the family does not take the response, a covariance structure cannot be fitted yet, there
        are no random-effects terms, or an option is out of range.
      FormulaDataError: if the data cannot answer the formula (a constant response, a grouping factor with one
        level, more coefficients than rows, ...).
    Example:
      >>> import lmeformula as lf
      >>> data = lf.datasets.load("dyestuff")
      >>> lf.compile(lf.design("Yield ~ 1 + (1|Batch)", data))
      Model: Yield ~ 1 + (1 | Batch)
      family gaussian (identity), 30 rows, 1 fixed effects, 6 random effects (6 Batch)
    """
    rule = find_family(family)
    has_residual = rule.is_normal
    if has_residual:
        design, sigma = without_residual(design, sigma)
    if rule.expand is not None:
        design, names = expanded(design, rule)
        rule = with_predictors(rule, names)
        keeps: tuple[bool, ...] = (True,) * len(names)
    else:
        rule, keeps = _with_formulas(rule, design)
    _check_sigma(rule, sigma)
    _check_workers(design, rule, sigma, has_priors=bool(priors))
    _check_terms(design)
    _check_positions(design, rule)
    check_design(design)
    if has_residual and sigma is None:
        check_residual(design)
    if sigma == 0.0:
        own_term(design)
    design = with_categories(design, rule)
    shards_of(design).parts.ask(_answered, rule)
    design = _without_constants(design, keeps)
    own = rule.own(roughly_by_observation(outline(design)).first)
    space = param_space(design, own)
    if sigma == 0.0:
        space = replace(space.holding(STAND_IN * float(own.start[0])), has_no_residual=True)
    elif sigma is not None:
        space = space.holding(float(sigma))
    return Model(design, rule, space, dtype, priors=priors_of(priors, design, rule, space))


def with_priors_left(model: Model, priors: Priors) -> Model:
    """A model without priors with those of another, as far as it has the parameters that they are of."""
    given = {one.key: one.prior for one in priors}
    return replace(model, priors=priors_left(given, model.design, model.family, model.space))


def _answered(part: Part, family: Family) -> None:
    """Refuse responses that the family does not take."""
    family.response(part.rows)


def _triangle(part: Part, units: Floats) -> Floats:
    return stack(part.rows, units).triangle()


def _with_formulas(family: Family, design: Design) -> tuple[Family, tuple[bool, ...]]:
    """Give a family the predictors that a design has.

    Returns:
      The family; and of each predictor whether its constant is none that the family has already.
    Raises:
      ModelError: if a predictor is for no parameter of the family's, or for one that has another.
    """
    given = [each.name for each in design.predictors[1:]]
    rules = [predicted_of(family, name) for name in given]
    names = tuple(rule.name for rule in rules)
    if len(set(names)) < len(names):
        raise ModelError(
            f"a parameter has several formulas: {', '.join(given)}",
            hint="Write all its terms in one.",
        )
    keeps = (family.has_intercept, *(rule.has_intercept for rule in rules))
    return with_predictors(family, names), keeps


def _without_constants(design: Design, keeps: tuple[bool, ...]) -> Design:
    if all(keeps):
        return design
    predictors = tuple(
        each if is_kept else replace(each, design=without_intercept(each.design))
        for each, is_kept in zip(design.predictors, keeps, strict=True)
    )
    found = joined(design.formula, predictors)
    if design.shards is None or len(predictors) == 1:
        return found
    return without_columns(design, found, design.shards)


def _check_workers(
    design: Design, family: Family, sigma: float | None, *, has_priors: bool
) -> None:
    """Refuse models that are not fitted over rows with workers."""
    if design.shards is None:
        return
    what = "models with priors of parameters" if has_priors else ""
    if any(term.prior.has_df for term in design.terms):
        what = "effects by Student's t distribution"
    elif any(term.meets for term in design.terms):
        what = "effects of levels that are related or share rows"
    elif family.is_normal and sigma == 0.0:
        what = "models without a residual"
    if what:
        raise ModelError(
            f"{what} are not fitted over the workers of a cluster",
            hint="Models with normal effects are, but for Gaussian ones without a residual. cluster=False "
            "reads the rows into this process.",
        )


def _check_sigma(family: Family, sigma: float | None) -> None:
    if sigma is not None and not family.is_normal:
        raise ModelError(
            f"the {family.name} family has no residual sd to fix", hint="Leave sigma out."
        )


def _check_positions(design: Design, family: Family) -> None:
    """Refuse more positions than the likelihood of responses that are not normal takes in reasonable time."""
    if family.is_normal:
        return
    for term in design.terms:
        count = 0 if term.positions is None else len(term.positions)
        if count > MOST_POSITIONS:
            raise ModelError(
                f"there are {count:,} positions in {term.covariance}(), and a {family.name} model takes "
                f"{MOST_POSITIONS:,}",
                hint="Round them to a grid: floor(x * 10) / 10. A gaussian model takes more.",
            )


def _check_terms(design: Design) -> None:
    text = design.formula.text
    if design.response is None:
        raise ModelError(
            "a one-sided formula has no response to fit",
            formula=text,
            span=(0, 0),
            hint="Write response ~ terms.",
        )
    if not design.terms:
        raise ModelError(
            "the formula has no random-effects term",
            formula=text,
            span=(len(text), len(text)),
            hint="Add one, such as (1 | group); for a model without any, use a regression library.",
        )
    for term, written in zip(design.terms, written_terms(design), strict=True):
        first, x = written[0], f"(x | {term.group})"
        refused = functools.partial(ModelError, formula=first[0], span=first[1].span)
        if term.block and len(written) == 1:
            raise refused(
                f"the label '{term.block}' links nothing: it occurs only once",
                "E_ID_UNUSED",
                hint=f"Remove it: {x}, or write the other term that shares its covariance: "
                f"(z |{term.block}| {term.group})",
            )
        if (term.covariance, term.homogeneous) not in KNOWN:
            raise refused(
                f"there is no such covariance structure: {term.covariance}",
                hint=f"Structures are {', '.join(KINDS)}.",
            )
        if term.parts > 1 and term.homogeneous and term.role != "population":
            raise refused(
                f"the covariance structure {term.covariance} with one variance is the same for all levels of "
                f"'{first[1].group.by}'",
                hint="With gr(g, by = a) there are us, diag, cs, toep and hetar1, with a variance for each.",
            )
        if term.parts > 1 and term.is_related and len(term.columns) > term.parts:
            raise refused(
                f"with by and cov a level of {term.group} has one coefficient, and this term has "
                f"{len(term.columns) // term.parts}",
                hint=f"Write (1 | gr({term.group}, by = {first[1].group.by}, cov = {first[1].group.cov})), and "
                "other coefficients in terms of their own.",
            )
        if not term.prior.has_df:
            continue
        if design.num_predictors > 1:
            raise refused(
                "effects by Student's t distribution are of models with one linear predictor",
                hint=f"Write {x}, whose effects are normal.",
            )
        if structure_of(term).correlations != "each":
            raise refused(
                f"effects by Student's t distribution cannot have the covariance structure {term.covariance}",
                hint=f'Write (x | gr({term.group}, dist = "student")), or || for terms of their own.',
            )
