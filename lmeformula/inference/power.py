"""The power of a test of fixed effects by simulation, by sizes of the effect and of the sample."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import scipy.stats

from lmeformula.algebra.threads import one_blas_thread
from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Ints
from lmeformula.checkpoint.journal import piece
from lmeformula.covariance.structure import cholesky_semidefinite
from lmeformula.design.design import Design
from lmeformula.design.resized import level_of_rows, resized
from lmeformula.errors import ModelError
from lmeformula.estimation.continued import continued
from lmeformula.fit import FittedModel, check_maximum, not_of_draws, of_observations
from lmeformula.inference.in_turn import Refit, in_turn, refit_of
from lmeformula.inference.power_record import Point, Power
from lmeformula.inference.refit import has_estimates, refit_alone
from lmeformula.inference.refits import fits_together
from lmeformula.inference.satterthwaite import satterthwaite
from lmeformula.likelihood.singular import any_singular, column_roots
from lmeformula.model.compile import Model
from lmeformula.model.params import Params, param_space
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn
from lmeformula.watch import watched

TESTS = ("wald", "lrt", "satterthwaite")
MOST_SIMS = 10_000_000


@kinds.takes(
    effect=kinds.names,
    test=kinds.one_of(*TESTS),
    along=kinds.optional(kinds.text),
    params=kinds.optional(kinds.mapping),
    level=kinds.significance,
    num_sims=kinds.whole(1, MOST_SIMS),
    seed=kinds.seed,
    checkpoint=kinds.optional(kinds.path),
)
@of_observations
@not_of_draws("powers of tests")
def power(
    fit: FittedModel,
    effect: str | Sequence[str],
    test: str = "wald",
    *,
    size: float | Sequence[float] | None = None,
    num_groups: int | Sequence[int] | None = None,
    rows_per_group: int | Sequence[int] | None = None,
    along: str | None = None,
    params: Mapping[str, float] | None = None,
    level: float = 0.05,
    num_sims: int = 1000,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Power:
    """How often a test finds a fixed effect, in responses that a model draws.

    The model is that of a fit, of a pilot study or of made-up data, with the parameters that are given in place
    of its estimates. Responses are drawn, the model is fitted to each as `fit.refit` does, many at once, and
    the effect is tested. At all sizes the same seed is used, so that a curve over sizes is smooth. Responses
    that cannot be fitted, or whose fit does not converge, count as those in which the effect was not found.

    Args:
      fit: a fitted model, by any method but Monte Carlo EM.
      effect: the fixed effect that is tested: a coefficient such as "Days", a factor such as "period", whose
        coefficients are tested together, or several names, also together.
      test: "wald", of the estimates and their standard errors, by normal and chi-square distributions; "lrt",
        of twice the difference of log-likelihoods, from a fit without the effect as well; "satterthwaite", by t
        and F distributions, of Gaussian models, each fitted alone: some milliseconds for each.
      size: of the effect, a coefficient, on the scale of the linear predictor; several for a curve. By default
        the model's.
      num_groups: how many levels of the grouping factor; several for a curve. By default as many as there are.
        Further ones repeat them in turn, with their predictors, as new levels.
      rows_per_group: how many rows each of them has; several for a curve. Further ones repeat those that there
        are in turn.
      along: the grouping factor; need not be given where there is one.
      params: other parameters by name, as `fit.param_names` has them: fixed effects, standard deviations and
        the family's own, such as {"sd(Subject)": 30, "sigma": 20}.
      level: of the test.
      num_sims: how many responses are drawn at each size. The standard error of a power of one half is
        0.5 / sqrt(num_sims).
      seed: of the draws.
      checkpoint: a folder, which is made, for the fits that are done: killed at any moment, the call goes on
        after them when it is made again, and ends at the same bits. It is removed at the end.
    Returns:
      The power, its Monte Carlo interval, `to_frame()` and `plot()`.
    Raises:
      ModelError: for an effect or a parameter that does not exist, a size of several coefficients, a test that
        the model has not, or a fit that cannot be refitted in reasonable time.
      FormulaDataError: if there is no such grouping factor, or so few rows do not determine the coefficients.
    References:
      Green, MacLeod (2016), SIMR: an R package for power analysis of generalized linear mixed models by
      simulation, Methods in Ecology and Evolution 7, 493-498. Clopper, Pearson (1934), Biometrika 26, 404-413.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> found = power(fit, "Days", size=5.0, num_groups=[10, 20], num_sims=100, seed=1)
      >>> frame = found.to_frame()
      >>> frame["num_groups"].tolist(), bool(frame["power"].is_monotonic_increasing)
      ([10, 20], True)
    """
    design = fit.model.design
    names = (effect,) if isinstance(effect, str) else tuple(effect)
    places = _places(design, names)
    _check(fit, test, places, size)
    along = _along(design, along)
    sizes = _several("size", size, kinds.number, float)
    groups = _several("num_groups", num_groups, kinds.whole(2), int)
    rows = _several("rows_per_group", rows_per_group, kinds.whole(1), int)
    start = _params(fit, {} if params is None else params)
    # All that may be refused is, before anything is simulated.
    designs = {
        (count, each): design
        if count is None and each is None
        else resized(design, along, count, each)
        for count, each in itertools.product(groups, rows)
    }
    asked = (names, test, sizes, groups, rows, along, params, level, num_sims, seed)
    points = []
    total = len(designs) * len(sizes)
    with (
        continued(checkpoint, "power", fit, asked=asked),
        watched("power", total, "sizes") as watch,
    ):
        for made, given in itertools.product(designs.values(), sizes):
            at = start
            if given is not None:
                beta = start.beta.copy()
                beta[places[0]] = given
                at = start._replace(beta=beta)
            shown = float(at.beta[places[0]]) if len(places) == 1 else math.nan
            truth = _truth(fit, made, at)
            counts = _count(truth, test, places, level, num_sims, seed)
            num_levels = len(np.unique(level_of_rows(made, along)))
            points.append(Point(shown, num_levels, made.n, num_sims, *counts))
            watch.step()
    return Power(names, test, level, along, tuple(points))


def _several(name: str, value: Any, check: kinds.Check, kind: type) -> list[Any]:
    """The values of an argument that may be one, several, or none, which stands for what there is."""
    if value is None:
        return [None]
    many = (
        list(value)
        if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
        else [value]
    )
    if not many:
        raise kinds.refuse(name, value, "Give one, or several.")
    for one in many:
        check(name, one)
    return [kind(one) for one in many]


def _places(design: Design, names: tuple[str, ...]) -> Ints:
    """Places of the coefficients of effects: of that name, or of a factor of that name."""
    found: list[int] = []
    for name in names:
        mine = [i for i, each in enumerate(design.names) if each == name]
        mine = mine or [i for i, each in enumerate(design.names) if each.startswith(f"{name}[")]
        if not mine:
            raise ModelError(
                f"there is no fixed effect {name!r}",
                hint=f"There are: {', '.join(design.names) or 'none'}.",
            )
        found += mine
    return np.array(sorted(set(found)), np.int64)


def _along(design: Design, along: str | None) -> str:
    groups = list(dict.fromkeys(term.group for term in design.terms))
    if along is None:
        if len(groups) > 1:
            raise ModelError(
                f"the model has several grouping factors: {', '.join(groups)}",
                hint=f"Say whose levels are counted: along={groups[0]!r}.",
            )
        return groups[0]
    level_of_rows(design, along)
    return along


def _check(fit: FittedModel, test: str, places: Ints, size: object) -> None:
    """Refuse what cannot be done, before anything slow begins."""
    check_maximum(fit, "power, of tests of refits,")
    if fit.is_drawn or not fit.is_factored:
        raise ModelError(
            "no power of a model that is fitted by Monte Carlo EM or by the iterative solver",
            hint="It would be fitted hundreds of times; fit it by quadrature or by Laplace.",
        )
    if size is not None and len(places) > 1:
        raise ModelError(
            f"size is {kinds.shown(size)}, and the effect has {len(places)} coefficients",
            hint="Give each in params, by its name.",
        )
    if test == "satterthwaite" and not fit.model.family.is_normal:
        raise ModelError(
            f"there are no satterthwaite degrees of freedom of a {fit.model.family.name} fit",
            hint='Use test="wald" or test="lrt".',
        )
    if test == "lrt" and fit.reml:
        raise ModelError(
            "restricted likelihoods of models with other fixed effects cannot be compared",
            hint='Fit by maximum likelihood for test="lrt", or use another test.',
        )


def _params(fit: FittedModel, given: Mapping[str, float]) -> Params:
    """The parameters of a fit, with others in place of some.

    A standard deviation leaves correlations as they are.
    """
    model, params = fit.model, fit.params
    beta, own = params.beta.copy(), params.own.copy()
    covariances = [covariance.copy() for covariance in params.covariances]
    labels = {}
    for j, term in enumerate(model.space.terms):
        for place, name in enumerate(_sd_names(model, j)):
            labels[name] = (j, place if term.structure.num_sds(len(term.columns)) > 1 else None)
    for name, value in given.items():
        if name in model.design.names:
            kinds.number(name, value)
            beta[model.design.names.index(name)] = float(value)
        elif name in labels:
            kinds.positive(name, value)
            j, column = labels[name]
            covariances[j] = _with_sd(covariances[j], column, float(value), name)
        elif name in model.space.own.natural_names:
            kinds.number(name, value)
            own[model.space.own.natural_names.index(name)] = float(value)
            with np.errstate(all="ignore"):
                if not np.isfinite(model.space.own.scale.to_free(own)).all():
                    raise kinds.refuse(
                        name, value, "That is not among the values that it may have."
                    )
        else:
            known = (*model.design.names, *labels, *model.space.own.natural_names)
            raise ModelError(
                f"there is no parameter {name!r} that can be given",
                hint=f"There are: {', '.join(known)}.",
            )
    return params._replace(beta=beta, covariances=tuple(covariances), own=own)


def _sd_names(model: Model, j: int) -> tuple[str, ...]:
    """Names of the standard deviations of a term, as they are reported."""
    term, space = model.space.terms[j], model.space
    start = space.theta_slices[j].start
    return space.names[start : start + term.structure.num_sds(len(term.columns))]


def _with_sd(covariance: Floats, column: int | None, value: float, name: str) -> Floats:
    """A covariance (k, k) with another standard deviation of one coefficient, or of all."""
    sds = np.sqrt(np.diag(covariance))
    columns = np.arange(len(sds)) if column is None else np.array([column])
    if (sds[columns] == 0.0).any():
        if len(sds) > 1:
            raise ModelError(
                f"{name} is zero in the fit, and has no correlations to be given another value with",
                hint="Fit a model without that coefficient's correlations, or other data.",
            )
        return np.array([[value**2]])
    ratio = np.ones(len(sds))
    ratio[columns] = value / sds[columns]
    return np.asarray(covariance * ratio * ratio[:, None])


def _truth(fit: FittedModel, design: Design, params: Params) -> FittedModel:
    """What stands for a fit of a design at these parameters: responses are drawn and fitted from there."""
    old = fit.model
    model = Model(design, old.family, param_space(design, old.space.own), old.dtype)
    sigma = params.residual_sd if old.family.is_normal else 1.0
    factors = tuple(cholesky_semidefinite(one) / sigma for one in params.covariances)
    # Next to zero there is no direction to go, either.
    singular = any_singular(model.space, factors, column_roots(model))
    space, unknown = model.space, np.full(model.space.size, np.nan)
    return replace(
        fit,
        model=model,
        params=params,
        singular=singular,
        param_names=space.names,
        param_values=space.to_report(space.to_free(params)),
        param_stderr=unknown,
        param_vcov=np.full((space.size, space.size), np.nan),
        param_mc_error=unknown,
        fixed_vcov=np.full((space.num_fixed, space.num_fixed), np.nan),
    )


def _without(truth: FittedModel, places: Ints) -> FittedModel:
    """The same without some fixed effects."""
    design = truth.model.design
    kept = np.setdiff1d(np.arange(len(design.names)), places)
    narrow = replace(
        design,
        X=np.ascontiguousarray(design.X[:, kept]),
        names=tuple(design.names[i] for i in kept),
    )
    return _truth(truth, narrow, truth.params._replace(beta=truth.params.beta[kept]))


def _count(
    truth: FittedModel, test: str, places: Ints, level: float, num_sims: int, seed: int
) -> tuple[int, int]:
    """Of how many responses the test finds the effect, and of how many a fit did not converge."""

    def designs(of: FittedModel, drawn_ones: Iterator[Floats]) -> Iterator[Design]:
        for drawn in drawn_ones:
            design = with_drawn(of, drawn)
            if has_estimates(of, design):
                yield design

    every = responses(sampler_of(truth), num_sims, seed)
    with one_blas_thread():
        if test == "satterthwaite":
            p_values = [
                piece("test", one.y, partial(_by_freedom, truth, one, places))
                for one in designs(truth, every)
            ]
        elif test == "lrt":
            less, (first, again) = _without(truth, places), itertools.tee(every)
            both = zip(
                _each(truth, designs(truth, first), False),
                _each(less, designs(less, again), False),
                strict=True,
            )
            p_values = [_by_ratio(*pair, len(places)) for pair in both]
        else:
            p_values = [
                _by_errors(one, places) for one in _each(truth, designs(truth, every), True)
            ]
    found = np.array(p_values, float)
    done = np.isfinite(found)
    return int((found[done] < level).sum()), num_sims - int(done.sum())


def _each(truth: FittedModel, designs: Iterator[Design], with_errors: bool) -> Iterator[Refit]:
    return in_turn(
        fits_together(truth),
        lambda one: refit_of(refit_alone(truth, one)),
        designs,
        with_errors=with_errors,
    )


def _by_errors(found: Refit, places: Ints) -> float:
    """The p value of Wald's test; NaN where the fit did not converge."""
    if not found.converged:
        return math.nan
    beta, vcov = found.values[places], found.fixed_vcov[np.ix_(places, places)]
    statistic = float(beta @ np.linalg.solve(vcov, beta))
    return float(scipy.stats.chi2.sf(statistic, len(places)))


def _by_ratio(found: Refit, without: Refit, count: int) -> float:
    if not (found.converged and without.converged):
        return math.nan
    return float(scipy.stats.chi2.sf(2.0 * (found.loglik - without.loglik), count))


def _by_freedom(truth: FittedModel, design: Design, places: Ints) -> float:
    found = refit_alone(truth, design)
    if not found.converged:
        return math.nan
    rows = np.eye(len(found.params.beta))[places]
    test = satterthwaite(found).test(rows, found.params.beta[places])
    return float(test.p_value)
