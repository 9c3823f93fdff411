"""What part of the variance is whose: R2 of Nakagawa and Schielzeth, intraclass correlations.

All variances are on the scale of the linear predictor, where a response that is not Gaussian has an
observation-level variance by its family and link.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.special

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats
from lmeformula.errors import ModelError
from lmeformula.family.links import LINKS
from lmeformula.fit import FittedModel, of_observations
from lmeformula.inference.comparable import A_FIT
from lmeformula.inference.drawn_means import DrawnMeans
from lmeformula.prediction.normal_points import normal_points
from lmeformula.prediction.over_draws import OF_MEANS, at_draws
from lmeformula.prediction.predictor import (
    RowFamily,
    add_effects,
    linear_predictor,
    of_population,
    row_family,
)
from lmeformula.prediction.residuals import observed_mean

# Variances of the standard logistic, normal and Gumbel distributions: of the variable behind a yes or no.
LATENT = {"logit": math.pi**2 / 3, "probit": 1.0, "cloglog": math.pi**2 / 6}
OBSERVATION = ("auto", "latent", "lognormal", "delta", "trigamma")
# Step of the derivative of the inverse link.
LINK_STEP = 1e-5
_takes_observation = kinds.takes(
    observation=kinds.one_of(*OBSERVATION),
    mean=kinds.optional(kinds.number),
    null=kinds.optional(kinds.instance(FittedModel, A_FIT)),
)


class Variances(NamedTuple):
    """The parts of the variance on the scale of the linear predictor.

    Attributes:
      fixed: of the fixed effects over the rows, with the curves of smooths at their modes.
      groups: of each grouping factor's effects: mean over the rows, which random slopes make differ.
      residual: observation-level variance, with the effects of a factor that has a level for each row.
    """

    fixed: float
    groups: dict[str, float]
    residual: float

    @property
    def random(self) -> float:
        """Sum over the grouping factors."""
        return float(sum(self.groups.values()))


class R2(NamedTuple):
    """Parts of the variance that a model explains.

    Attributes:
      marginal: by the fixed effects.
      conditional: by fixed and random effects together.
    """

    marginal: float
    conditional: float

    def __repr__(self) -> str:
        return f"R2(marginal={self.marginal:.4f}, conditional={self.conditional:.4f})"


class DrawnR2(R2):
    """The posterior means of both, of a fit with draws.

    Attributes:
      draws: (m, 2) marginal and conditional R2 at each draw.
    """

    draws: Floats

    @classmethod
    def of(cls, draws: Floats) -> DrawnR2:
        """Of both (m, 2) at each draw."""
        found = cls(*map(float, draws.mean(axis=0)))
        found.draws = draws
        return found

    def to_frame(self, level: float = 0.95) -> pd.DataFrame:
        """Mean, median, standard deviation, and quantiles with a share `level` of the draws between them."""
        each = DrawnMeans(self.draws, self.draws).to_frame(np.ones(2, bool), level)
        return each.set_index(pd.Index(self._fields, name="R2"))


@_takes_observation
def r2(
    fit: FittedModel,
    *,
    observation: str = "auto",
    mean: float | None = None,
    null: FittedModel | None = None,
) -> R2:
    """The variance explained by the fixed effects, and by all effects.

    Args:
      fit: a fitted model.
      observation: the observation-level variance, see `variances`.
      mean: of the response where that variance is taken, see `variances`.
      null: a fit without predictors that the mean is taken from.
    Returns:
      Marginal and conditional R2. Of draws from a posterior distribution a `DrawnR2`: their posterior means,
      with `to_frame(level)` for medians and quantiles.
    Raises:
      ModelError: as `variances`.
    References:
      Nakagawa, Schielzeth (2013), Methods Ecol. Evol. 4, 133-142; Johnson (2014), Methods Ecol. Evol. 5,
      944-946, for random slopes; Nakagawa, Johnson, Schielzeth (2017), J. R. Soc. Interface 14, 20170213.
    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"), reml=True)
      >>> [round(part, 3) for part in r2(fit)]
      [0.279, 0.799]
    """
    if fit.draws is not None:
        each = _at_draws(fit, observation, mean, null)
        return DrawnR2.of(np.array([_shares(parts) for parts in each]))
    return R2(*_shares(variances(fit, observation=observation, mean=mean, null=null)))


def _shares(parts: Variances) -> tuple[float, float]:
    """Marginal and conditional R2."""
    total = parts.fixed + parts.random + parts.residual
    return parts.fixed / total, (parts.fixed + parts.random) / total


@_takes_observation
def icc(
    fit: FittedModel,
    *,
    observation: str = "auto",
    mean: float | None = None,
    null: FittedModel | None = None,
) -> pd.DataFrame:
    """Intraclass correlations: the part of the variance that grouping factors have.

    Args:
      fit: a fitted model.
      observation: the observation-level variance, see `variances`.
      mean: of the response where that variance is taken, see `variances`.
      null: a fit without predictors that the mean is taken from.
    Returns:
      frame: a row for each grouping factor and, last, "all": group; adjusted, of the variance that the fixed
        effects leave; unadjusted, of the whole variance. Of draws from a posterior distribution the means of
        both, and the quantiles that 95 % of the draws lie between: adjusted_low, adjusted_high, ...
    Raises:
      ModelError: as `variances`.
    References:
      Nakagawa, Johnson, Schielzeth (2017), J. R. Soc. Interface 14, 20170213, section 2.
    """
    if fit.draws is None:
        parts = variances(fit, observation=observation, mean=mean, null=null)
        return pd.DataFrame({"group": [*parts.groups, "all"], **_ratios(parts)})
    every = _at_draws(fit, observation, mean, null)
    found: dict[str, Any] = {"group": [*every[0].groups, "all"]}
    for name in ("adjusted", "unadjusted"):
        each = np.array([_ratios(parts)[name] for parts in every])
        low, high = np.quantile(each, (0.025, 0.975), axis=0)
        found |= {name: each.mean(axis=0), f"{name}_low": low, f"{name}_high": high}
    return pd.DataFrame(found)


def _ratios(parts: Variances) -> dict[str, Floats]:
    """The shares of each group and of all."""
    rest = parts.random + parts.residual
    shares = np.array([*parts.groups.values(), parts.random])
    return {"adjusted": shares / rest, "unadjusted": shares / (rest + parts.fixed)}


def _at_draws(
    fit: FittedModel, observation: str, mean: float | None, null: FittedModel | None
) -> list[Variances]:
    """The parts of the variance at one draw of the parameters and effects after the other."""
    return [
        variances(one, observation=observation, mean=mean, null=null)
        for one in at_draws(fit, OF_MEANS)
    ]


@_takes_observation
@of_observations
def variances(
    fit: FittedModel,
    *,
    observation: str = "auto",
    mean: float | None = None,
    null: FittedModel | None = None,
) -> Variances:
    """Part the variance on the scale of the linear predictor.

    With several linear predictors the scale is that of the first, whose fixed and random effects have shares. A
    further formula, such as that of sigma, makes the observation-level variance one of each row: it is averaged
    over the rows, and over the distribution of the effects in that formula, which are part of the residual.
    These are the variances of a Gaussian response exactly: its variance is that of the means plus the mean of
    the variances, whether effects are linked or not. R's performance has no answer here: glmmTMB's sigma() is
    NA where the dispersion has a formula, and for brms it says that there is no single sigma. Zero-inflated
    and hurdle models with several predictors are refused: a row's zeros then follow predictors of their own,
    and what performance says of such models its authors want validated.

    Args:
      fit: a fitted model.
      observation: for responses that are not Gaussian: "latent", the variance of the distribution behind a
        binary or ordinal response (pi^2 / 3 for logit); "delta", the variance function brought over by the
        derivative of the link; for log links also "lognormal", log(1 + v), and "trigamma", trigamma(1 / v), v
        the squared coefficient of variation. "auto" is "latent" where there is one, else "lognormal" for
        log links, else "delta".
      mean: the mean response at which the variance function is taken; by default the mean of the responses.
      null: a fit without predictors: the mean is then exp(b + t / 2) for log links, with its intercept b and
        random variance t, and the inverse link of b for the others. It has one formula.
    Returns:
      The parts; of draws from a posterior distribution their posterior means.
    Raises:
      ModelError: for an option that is not one of these or does not go with the family; for categories without
        an order, and zero-inflated and hurdle models with several predictors.
    References:
      Nakagawa, Johnson, Schielzeth (2017), J. R. Soc. Interface 14, 20170213, section 2, for the
      observation-level variance of which this is the mean.
    """
    _check_shares(fit)
    if fit.draws is not None:
        return _mean_of(_at_draws(fit, observation, mean, null))
    design = fit.model.design
    of_first = np.equal(design.column_predictors, 0)
    of_fixed = design.X @ np.where(of_first, fit.params.beta, 0.0)
    curves = np.zeros((design.num_predictors, design.n))
    for block, effects in zip(design.terms, fit.modes, strict=True):
        if block.role == "population":
            add_effects(curves, (block,), (effects,))
    of_fixed = of_fixed + curves[0]
    groups: dict[str, float] = {}
    own_rows = 0.0
    has_residual = fit.model.family.base.is_normal
    for block, prior in zip(design.terms, fit.params.distributions, strict=True):
        is_first = np.equal(block.predictors, 0)
        if not is_first.any() or block.role == "population":
            continue
        values = block.values * is_first
        values = values * np.sqrt(block.prior_scale)[:, None]
        share = float(np.einsum("na,ab,nb->", values, prior.covariance, values)) / len(of_fixed)
        if len(block.levels) == len(of_fixed) and not has_residual:
            own_rows += share
        else:
            groups[block.group] = groups.get(block.group, 0.0) + share
    of_rows = _observation_variance(fit, observation, mean, null)
    residual = sum(
        weight * float(np.mean(of_rows(rows))) for rows, weight in _rows_over_effects(fit)
    )
    fixed = float(np.var(of_fixed, ddof=1)) if len(of_fixed) > 1 else 0.0
    return Variances(fixed, groups, residual + own_rows)


def _mean_of(every: list[Variances]) -> Variances:
    """The mean of each part."""
    groups = {
        name: float(np.mean([parts.groups[name] for parts in every])) for name in every[0].groups
    }
    fixed, residual = (
        float(np.mean([getattr(parts, name) for parts in every])) for name in ("fixed", "residual")
    )
    return Variances(fixed, groups, residual)


def _check_shares(fit: FittedModel) -> None:
    """Refuse models whose variance nobody has parted.

    Raises:
      ModelError: that says so.
    """
    family, hint = fit.model.family, "Compare fits by fit.anova(other), or by held-out predictions."
    if family.is_unordered:
        raise ModelError("categories without an order have no variance to share", hint=hint)
    # A chance that has a formula, or could have one, is that of zeros of their own; a user's is what they say.
    parts = family.base.predicted if family.is_distributional else ()
    if any(part.link == "logit" and part.bounds is None for part in parts):
        raise ModelError(
            f"there is no agreed R2 of the {fit.model.family.base.name} family where parameters have formulas",
            hint=hint,
        )


def _rows_over_effects(fit: FittedModel) -> Iterator[tuple[RowFamily, float]]:
    """Rows with a predictor of one and own parameters at points of the effects in those formulas; chances."""
    design, own = fit.model.design, fit.params.own
    num_predictors = design.num_predictors
    if not fit.model.family.is_distributional:
        # Own parameters that are numbers are those of any row.
        yield row_family(fit, np.ones((1, 1)), own), 1.0
        return
    spread = np.zeros((design.n, num_predictors, num_predictors))
    for block, prior in zip(design.terms, fit.params.distributions, strict=True):
        if block.role == "population":
            continue
        values = block.values[:, :, None] * np.eye(num_predictors)[list(block.predictors)]
        values = values * np.sqrt(block.prior_scale)[:, None, None]
        spread += np.einsum("nap,ab,nbq->npq", values, prior.covariance, values, optimize=True)
    eta, spread = (
        linear_predictor(fit, design, with_random=of_population(design))[1:],
        spread[:, 1:, 1:],
    )
    for further, weight in normal_points(eta, spread) if spread.any() else [(eta, 1.0)]:
        yield row_family(fit, np.vstack([np.ones(design.n), further]), own), weight


def _observation_variance(
    fit: FittedModel, observation: str, mean: float | None, null: FittedModel | None
) -> Callable[[RowFamily], Floats]:
    """The observation-level variance of rows with given own parameters and a predictor of one."""
    family = fit.model.family.base
    if family.is_normal:
        return lambda rows: rows.own[0] ** 2
    if family.predictor_variance is not None:
        of_own = family.predictor_variance
        return lambda rows: of_own(rows.own)
    is_latent = family.is_latent and family.link in LATENT
    kind = observation
    if kind == "auto":
        kind = "latent" if is_latent else "lognormal" if family.link == "log" else "delta"
    if kind == "latent":
        if not is_latent:
            raise ModelError(
                f"there is no latent variable behind a {family.name} response",
                hint='Use observation="delta".'
                if family.categories is None
                else "Of ordered categories the cumulative family has one.",
            )
        # Where predictor and thresholds are multiplied, the latent variable is divided by as much.
        return lambda rows: LATENT[family.link] / rows.eta**2
    if kind != "delta" and family.link != "log":
        raise ModelError(
            f'observation="{kind}" is for log links, and this is {family.link}',
            hint='Use observation="delta".',
        )
    if family.variance is None:
        raise ModelError(
            f"the {family.name} family has no variance function",
            hint='For ordered categories use the cumulative family and observation="latent"; for a family of '
            "your own, give `variance`.",
        )
    at = _mean(fit, mean, null)
    slope = 1.0 if family.link == "log" else _mean_slope(fit, at)

    def of_rows(rows: RowFamily) -> Floats:
        assert family.variance is not None
        with np.errstate(all="ignore"):
            variance = family.variance(np.full(rows.eta.shape, at), rows.own)
        if mean is not None and not ((variance > 0).all() and (family.link != "log" or at > 0)):
            raise ModelError(
                f"mean is {mean:g}, which no response of the {family.name} family has",
                hint="Give a mean in the range of the responses.",
            )
        if family.link != "log":
            return np.asarray(variance / slope**2)
        squared_cv = variance / at**2
        if kind == "lognormal":
            # NumPy's own differs in the last digit between machines.
            return np.array([math.log1p(value) for value in squared_cv])
        if kind == "trigamma":
            return np.asarray(scipy.special.polygamma(1, 1.0 / squared_cv))
        return np.asarray(squared_cv)

    return of_rows


def _mean(fit: FittedModel, mean: float | None, null: FittedModel | None) -> float:
    if mean is not None and null is not None:
        raise ModelError("both a mean and a null fit were given", hint="Give one of them.")
    if mean is not None:
        return float(mean)
    family = fit.model.family.base
    if null is None:
        observed, weights = observed_mean(family, fit.model.design)
        return float(np.average(observed, weights=weights))
    if null.model.family.name != family.name or null.model.design.names != ("Intercept",):
        raise ModelError(
            "the null fit has predictors, or another family",
            hint="Fit the same response and random intercepts with 1 as the only fixed effect, in one formula.",
        )
    centre = float(null.params.beta[0])
    if family.link == "log":
        centre += 0.5 * variances(null, observation="delta", mean=1.0).random
    return float(family.mean(np.array([centre]), null.params.own)[0])


def _mean_slope(fit: FittedModel, mean: float) -> float:
    """Derivative of the inverse link where it has that value."""
    name = fit.model.family.base.link
    if name not in LINKS:
        raise ModelError(
            f"the link {name!r} has no derivative here",
            hint=f"Links that do: {', '.join(LINKS)}.",
        )
    link = LINKS[name]
    eta = float(link.forward(np.array([mean]))[0])
    ends = link.inverse(np.array([eta - LINK_STEP, eta + LINK_STEP]))
    return float(ends[1] - ends[0]) / (2.0 * LINK_STEP)
