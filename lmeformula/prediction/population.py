"""A fit with its curves among the fixed effects: what holds for the whole population, with one covariance.

The effects of a curve have normal errors, as the fixed effects have: by Henderson's equations b follows the
parameters, and has H^-1 beside that. Marginal means, tests and degrees of freedom of a smooth need no more than
that; they ask for the fixed effects of a fit, and get those of this one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from lmeformula.algebra.lambdas import apply_lambda
from lmeformula.arrays import Floats, Ints
from lmeformula.design.design import Design, NewRows
from lmeformula.design.rebuild import rebuild
from lmeformula.design.side_by_side import columns_of_terms, joined_again
from lmeformula.fit import FittedModel
from lmeformula.model.params import param_space
from lmeformula.prediction.freedom import Freedom, FTest, wald_statistic
from lmeformula.prediction.normal_posterior import row_precisions
from lmeformula.prediction.parameter_errors import own_is_apart, parameter_covariance
from lmeformula.prediction.posterior import normal_posterior_of
from lmeformula.prediction.predictor import of_population

# A share of a combination that is this small beside its largest coefficient is rounding.
ROUNDING = 1e-9


class Errors(NamedTuple):
    """The parameters of a fit and the effects of its curves, together.

    Attributes:
      effects: (q,) of the curves, term after term.
      covariance: (d + q, d + q) of the parameters of `parameter_covariance`, then of these effects.
      terms: of each effect, the place of its term.
    """

    effects: Floats
    covariance: Floats
    terms: Ints


def curve_errors(fit: FittedModel) -> Errors:
    """The joint errors of the parameters and of the effects of curves.

    Args:
      fit: a fitted model with normal effects.
    Raises:
      ModelError: if its equations are too large to be factored here, or have no minimum.
    """
    posterior = normal_posterior_of(fit)
    plan, lambdas = posterior.plan, posterior.factor.lambdas
    each = [
        np.asarray(part, int).reshape(-1) for part in plan.split(np.arange(float(plan.num_effects)))
    ]
    is_curve = of_population(fit.model.design)
    kept = [part for part, is_one in zip(each, is_curve, strict=True) if is_one]
    places = np.concatenate([*kept, np.zeros(0, int)])
    of_terms = np.concatenate(
        [np.full(part.size, j) for j, part in enumerate(each) if is_curve[j]] + [np.zeros(0, int)]
    )
    unit = np.zeros((plan.num_effects, places.size))
    unit[places, np.arange(places.size)] = 1.0
    half = posterior.factor.solve(apply_lambda(plan, lambdas, unit, transpose=True))
    own = apply_lambda(plan, lambdas, half)[places]
    moves, known = posterior.moves[places], parameter_covariance(fit)
    # A coefficient on its way to infinity has no errors, and curves do not follow it.
    finite = np.where(np.isfinite(known), known, 0.0)
    across = moves @ finite
    inner = own + across @ moves.T
    covariance = np.block([[known, across.T], [across, (inner + inner.T) / 2.0]])
    modes = [mode.reshape(-1) for mode, is_one in zip(fit.modes, is_curve, strict=True) if is_one]
    return Errors(np.concatenate([*modes, np.zeros(0)]), covariance, of_terms)


def with_fixed_curves(fit: FittedModel) -> FittedModel:
    """The fit with the effects of its curves among the fixed effects; the fit itself where it has none.

    Its design has their columns, also on new rows; only combinations of these effects may be asked of it.

    Args:
      fit: a fitted model.
    """
    design = fit.model.design
    if not any(of_population(design)):
        return fit
    errors = curve_errors(fit)
    p, d = len(fit.params.beta), len(errors.covariance) - errors.effects.size
    parts, order = [], []
    of_columns = np.array(design.column_predictors, int)
    for number, (each, of_one) in enumerate(
        zip(design.predictors, columns_of_terms(design), strict=True)
    ):
        blocks = [
            (term, place)
            for term, (place, _) in zip(each.design.terms, of_one, strict=True)
            if term.role == "population"
        ]
        parts.append(replace(each, design=_with_columns(each.design)))
        order.append(np.flatnonzero(of_columns == number))
        order += [d + np.flatnonzero(errors.terms == place) for _, place in blocks]
    places = np.concatenate(order)
    made = joined_again(design, tuple(parts))
    space = param_space(made, fit.model.space.own)
    every = np.concatenate([places, np.arange(p, d)])
    whole = np.concatenate([fit.params.beta, np.zeros(d - p), errors.effects])
    covariance = errors.covariance[np.ix_(every, every)]
    count = len(places)
    groups = [not is_curve for is_curve in of_population(design)]
    keep = [j for j, is_group in enumerate(groups) if is_group]
    params = fit.params._replace(
        beta=whole[places], covariances=tuple(fit.params.covariances[j] for j in keep)
    )
    vcov = np.full((space.size, space.size), np.nan)
    vcov[:count, :count] = covariance[:count, :count]
    if not own_is_apart(fit):
        jacobian = _own_jacobian(fit, count)
        at = np.r_[np.arange(count), np.arange(space.own_slice.start, space.own_slice.stop)]
        vcov[np.ix_(at, at)] = jacobian @ np.nan_to_num(covariance) @ jacobian.T
        vcov[:count, :count] = covariance[:count, :count]
    return replace(
        fit,
        model=replace(fit.model, design=made, space=space),
        params=params,
        fixed_vcov=covariance[:count, :count],
        param_vcov=vcov,
        modes=tuple(fit.modes[j] for j in keep),
        mode_cov=tuple(fit.mode_cov[j] for j in keep),
    )


def _own_jacobian(fit: FittedModel, count: int) -> Floats:
    """Of the reported own parameters in the unconstrained ones, beside those of `count` others."""
    own = fit.model.space.own
    free = own.scale.to_free(fit.params.own)
    found = np.eye(count + own.size)
    with np.errstate(all="ignore"):
        found[count:, count:] = np.nan_to_num(own.report_jacobian(free))
    return found


def _with_columns(design: Design) -> Design:
    """The design of one predictor, whose curves are fixed columns."""
    curves = [term for term in design.terms if term.role == "population"]
    recipe = None if design.recipe is None else replace(design.recipe, penalised=design)
    return replace(
        design,
        X=np.column_stack([design.X, *(term.values for term in curves)]),
        names=(*design.names, *(column for term in curves for column in term.columns)),
        terms=tuple(term for term in design.terms if term.role == "group"),
        recipe=recipe,
    )


@dataclass(frozen=True, eq=False)
class CurveFreedom:
    """Degrees of freedom of combinations that curves take part in.

    They are those of what the fixed effects have of a combination, and no more than the rows have left.

    Attributes:
      base: of the fixed effects.
      vcov: of them and of the effects of curves.
      fixed: the places of the fixed effects among these.
      residual: degrees of freedom of others; infinite where no scale is estimated.
    """

    base: Freedom
    vcov: Floats
    fixed: Ints
    residual: float

    @property
    def name(self) -> str:
        """As the user writes it."""
        return self.base.name

    def df(self, rows: Floats) -> Floats:
        """(r,) of each combination; further columns of `rows` are those of `vcov`."""
        found = np.full(len(rows), self.residual)
        has_fixed = rows[:, self.fixed].any(axis=1)
        if has_fixed.any():
            # What curves add has no fewer than the rows have left.
            found[has_fixed] = self.base.df(rows[np.ix_(has_fixed, self.fixed)])
        return np.where(self._is_base(rows), found, np.minimum(found, self.residual))

    def test(self, rows: Floats, estimates: Floats) -> FTest:
        """Wald's test that all combinations are zero."""
        if self._is_base(rows).all():
            return self.base.test(rows[:, self.fixed], estimates)
        statistic, rotated = wald_statistic(rows, self.vcov, estimates)
        least = float(np.min(self.df(rotated), initial=self.residual))
        return FTest(statistic, len(rotated), least)

    def _is_base(self, rows: Floats) -> Floats:
        others = np.ones(rows.shape[1], bool)
        others[self.fixed] = False
        largest = np.abs(rows).max(axis=1, initial=0.0)
        return np.asarray(np.abs(rows[:, others]).max(axis=1, initial=0.0) <= ROUNDING * largest)


def population_rows(design: Design, newdata: object, offset: object = None) -> NewRows:
    """New rows of a predictor's design, of which curves that are fixed columns have theirs.

    Args:
      design: of one linear predictor, as it was or of `with_fixed_curves`.
      newdata: the columns of the data that its fixed part uses.
      offset: as of `rebuild`.
    """
    penalised = None if design.recipe is None else design.recipe.penalised
    if penalised is None:
        return rebuild(design, newdata, groups=False, offset=offset)
    kept = of_population(penalised)
    rows = rebuild(penalised, newdata, groups=kept, offset=offset)
    curves = [term.values for term, is_one in zip(rows.terms, kept, strict=True) if is_one]
    return replace(rows, X=np.column_stack([rows.X, *curves]), names=design.names, terms=())


def curve_freedom(fit: FittedModel, seen: FittedModel, plain: Freedom) -> Freedom:
    """Degrees of freedom of combinations of the fixed effects of a fit and of its curves.

    Args:
      fit: a fitted model.
      seen: the same `with_fixed_curves`.
      plain: those of its fixed effects.
    """
    if seen is fit:
        return plain
    names = list(seen.model.design.names)
    fixed = np.array([names.index(name) for name in fit.model.design.names], int)
    vcov = np.array(seen.fixed_vcov)
    vcov[np.ix_(fixed, fixed)] = plain.vcov
    residual = np.inf
    if plain.name != "none":
        spread = normal_posterior_of(fit).covariances(fit.model.design)[:, 0, 0]
        residual = fit.nobs - float(row_precisions(fit) @ spread)
    return CurveFreedom(plain, vcov, fixed, residual)
