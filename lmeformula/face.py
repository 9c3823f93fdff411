"""The fit that a user holds: a fitted model with all that comes after by its name.

This is the only file that knows all statistics. Each method imports what it needs when it is called, so that
a fit is not kept waiting for them.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from lmeformula.arguments import kinds
from lmeformula.arguments.kept import KEPT, Kept
from lmeformula.arguments.spelled import elsewhere, spelled
from lmeformula.fit import FittedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike
    from pathlib import Path

    import pandas as pd

    from lmeformula.checking.check import Check
    from lmeformula.checking.cross_validate import CrossValidation
    from lmeformula.checking.diagnosis import Diagnostics
    from lmeformula.em.progress import Progress
    from lmeformula.em.types import Options
    from lmeformula.family.record import Family
    from lmeformula.handing.references import References
    from lmeformula.inference.anova import Anova
    from lmeformula.inference.marginal_means import MarginalMeans
    from lmeformula.inference.profile import Profile
    from lmeformula.inference.r2 import R2
    from lmeformula.prediction.kept_effects import ReForm
    from lmeformula.prediction.residuals import ResidualKind
    from lmeformula.prediction.varcorr import VarCorr
    from lmeformula.serving.export import Exported
    from lmeformula.views.plot_methods import Plots
    from lmeformula.views.summary import Summary


class Fit(FittedModel):
    """A fitted model: the attributes of `lmeformula.fit.FittedModel`, and these methods."""

    __slots__ = ()

    @classmethod
    def of(cls, fitted: FittedModel) -> Fit:
        """A fitted model with the methods."""
        fit = object.__new__(cls)
        for field in fields(FittedModel):
            object.__setattr__(fit, field.name, getattr(fitted, field.name))
        return fit

    @property
    def varcorr(self) -> VarCorr:
        """Standard deviations and correlations of the random effects, and sigma."""
        from lmeformula.prediction.varcorr import varcorr

        return varcorr(self)

    @kinds.takes()
    def ranef(self, cond_sd: bool = True) -> pd.DataFrame:
        """Random effects, a row each: group, level, term, value and, unless told not to, sd.

        See `lmeformula.prediction.ranef.ranef`.
        """
        from lmeformula.prediction.ranef import ranef

        return ranef(self, cond_sd)

    def coef(self) -> dict[str, pd.DataFrame]:
        """Fixed plus random effects, a table for each grouping factor."""
        from lmeformula.prediction.ranef import coef

        return coef(self)

    @kinds.takes()
    def refit(
        self,
        y: Any,
        *,
        seed: int = 0,
        options: Options | None = None,
        progress: Progress | None = None,
    ) -> Fit:
        """The same model fitted to another response; see `lmeformula.inference.refit.refit`."""
        from lmeformula.inference.refit import refit

        return Fit.of(refit(self, y, seed=seed, options=options, progress=progress))

    def fitted(self) -> pd.Series:
        """Expected responses of the rows used, random effects included."""
        from lmeformula.prediction.predict import fitted

        return fitted(self)

    @spelled(type="kind")
    @elsewhere(
        se_fit='Use interval="confidence": estimate, lower and upper.',
        allow_new_levels='Use new_levels="sample", or "population" for an effect of zero.',
    )
    @kinds.takes()
    def predict(
        self,
        newdata: object = None,
        *,
        interval: str | None = None,
        kind: str = "response",
        re_form: ReForm = None,
        new_levels: str = "error",
        offset: object = None,
        averaged: bool = False,
        level: float = 0.95,
        weights: object = None,
        include: Sequence[str] | None = None,
        seed: int = 0,
        num_draws: int | None = None,
    ) -> pd.Series | pd.DataFrame:
        """Predict means; with `interval`, "confidence" or "prediction", a frame of estimate, lower and upper.

        With kind="draws" a column for each draw of the effects. What each argument may be stands in
        `lmeformula.prediction.predictions.predictions`.
        """
        from lmeformula.prediction.predictions import predictions

        return predictions(
            self,
            newdata,
            interval=interval,
            kind=kind,
            re_form=re_form,
            new_levels=new_levels,
            offset=offset,
            averaged=averaged,
            level=level,
            weights=weights,
            include=include,
            seed=seed,
            num_draws=num_draws,
        )

    @kinds.takes()
    def simulate(
        self,
        n: int = 1,
        *,
        seed: int = 0,
        re_form: ReForm = "NA",
        newdata: object = None,
        new_levels: str = "error",
        offset: object = None,
        weights: object = None,
    ) -> pd.DataFrame:
        """Responses drawn from the model, a column each; see `lmeformula.prediction.simulate.simulate`.

        Random effects are drawn anew unless `re_form` keeps them, as in lme4.
        """
        from lmeformula.prediction.simulate import simulate

        return simulate(
            self,
            n,
            seed=seed,
            re_form=re_form,
            newdata=newdata,
            new_levels=new_levels,
            offset=offset,
            weights=weights,
        )

    @spelled(type="kind")
    @kinds.takes()
    def residuals(self, kind: ResidualKind = "response", *, seed: int = 0) -> pd.Series:
        """Residuals of the rows used: "response", "pearson", "deviance" or, with random numbers, "quantile".

        See `lmeformula.prediction.residuals.residuals`.
        """
        from lmeformula.prediction.residuals import residuals

        return residuals(self, kind, seed=seed)

    @kinds.takes()
    def tidy(self, level: float = 0.95, *, ddf: str | None = None) -> pd.DataFrame:
        """A row for each parameter: effect, group, term, estimate, std_error, statistic, mc_error, ...

        With `ddf`, such as "satterthwaite", fixed effects are tested by Student's t, as lmerTest does. See
        `lmeformula.inference.tidy.tidy`.
        """
        from lmeformula.inference.tidy import tidy

        return tidy(self, level, ddf=ddf)

    def glance(self) -> pd.DataFrame:
        """One row: log-likelihood, criteria, number of rows, method, outcome."""
        from lmeformula.inference.tidy import glance

        return glance(self)

    @kinds.takes()
    def summary(self, *, ddf: str | None = None) -> Summary:
        """The summary page: text in the REPL, HTML in a notebook; `ddf` adds tests of fixed effects.

        See `lmeformula.views.summary.summary`.
        """
        from lmeformula.views.summary import summary

        return summary(self, ddf)

    @kinds.takes()
    def confint(
        self,
        method: str = "wald",
        level: float = 0.95,
        parm: Sequence[str] | str | None = None,
        *,
        num_refits: int | None = None,
        seed: int | None = None,
    ) -> pd.DataFrame:
        """Intervals, "wald", "profile" or "boot": parameter, estimate, lower, upper, note.

        See `lmeformula.inference.confint.confint`; `num_refits` and `seed` are those of "boot".
        """
        from lmeformula.inference.confint import confint

        return confint(self, method, level, parm, num_refits=num_refits, seed=seed)

    @property
    def diagnostics(self) -> Diagnostics:
        """How the fit was come by, how sure it is, and where the time went; prints in words."""
        from lmeformula.checking.diagnostics import diagnostics

        return diagnostics(self)

    @kinds.takes()
    def check(self, *, level: float = 0.01, seed: int = 0) -> Check:
        """What seems wrong with the model, and what to try; see `lmeformula.checking.check.check`."""
        from lmeformula.checking.check import check

        return check(self, level=level, seed=seed)

    @kinds.takes()
    def anova(self, *others: Fit, level: float = 0.05) -> Anova:
        """Likelihood-ratio tests between this fit and others; see `lmeformula.inference.anova.anova`."""
        from lmeformula.inference.anova import anova

        return anova(self, *others, level=level)

    @kinds.takes()
    def profile(self, parm: Sequence[str] | str | None = None, level: float = 0.99) -> Profile:
        """Profile likelihoods of some parameters, or of all, out to an interval of that level.

        See `lmeformula.inference.profile.profile`.
        """
        from lmeformula.inference.profile import profile

        return profile(self, parm, level)

    @property
    def plot(self) -> Plots:
        """Plots of this fit, as methods."""
        from lmeformula.views.plot_methods import Plots

        return Plots(self)

    @kinds.takes()
    def cross_validate(
        self,
        folds: Any = None,
        *,
        by: str | None = None,
        metrics: Sequence[str] | str | None = None,
        method: str | None = None,
        seed: int = 0,
        options: Options | None = None,
    ) -> CrossValidation:
        """Score predictions of rows held out; see `lmeformula.checking.cross_validate.cross_validate`."""
        from lmeformula.checking.cross_validate import cross_validate

        return cross_validate(
            self, folds, by=by, metrics=metrics, method=method, seed=seed, options=options
        )

    @kinds.takes()
    def augment(self, data: pd.DataFrame | None = None) -> pd.DataFrame:
        """The rows with predictions and residuals; see `lmeformula.handing.augment.augment`."""
        from lmeformula.handing.augment import augment

        return augment(self, data)

    @kinds.takes()
    def to_arviz(
        self,
        *,
        num_draws: int = 500,
        seed: int = 0,
        rows: bool = True,
        watched: bool = True,
        parameters: str = "estimates",
    ) -> Any:
        """Draws of the effects, log-likelihoods and rows for ArviZ; see `lmeformula.handing.arviz.to_arviz`."""
        from lmeformula.handing.arviz import to_arviz

        return to_arviz(
            self,
            num_draws=num_draws,
            seed=seed,
            rows=rows,
            watched=watched,
            parameters=parameters,
        )

    @kinds.takes()
    def save(self, path: str | PathLike[str], *, data: bool = False) -> Path:
        """Save to a file that `lmeformula.load` reads, with `data` the rows too.

        See `lmeformula.store.save`.
        """
        from lmeformula.store.save import save

        return save(self, path, data=data)

    @kinds.takes()
    def export(self, path: str | PathLike[str]) -> Exported:
        """Write predictions as a TensorFlow SavedModel; see `lmeformula.serving.export.export`."""
        from lmeformula.serving.export import export

        return export(self, path)

    @property
    def joint(self) -> Any:
        """The joint distribution of random effects and response, its variables at the estimates."""
        return self.model.joint

    @property
    def joint_effects(self) -> dict[str, Any]:
        """Posterior means of the random effects, by their parts of the joint distribution."""
        from lmeformula.prediction.joint import joint_effects

        return joint_effects(self)

    @kinds.takes()
    def joint_for(self, newdata: Any, *, offset: Any = None, weights: Any = None) -> Any:
        """The joint distribution of new rows at the estimates; see `lmeformula.prediction.joint.joint_for`."""
        from lmeformula.prediction.joint import joint_for

        return joint_for(self, newdata, offset=offset, weights=weights)

    @spelled(type="kind")
    @kinds.takes()
    def emmeans(
        self,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None = None,
        *,
        at: Mapping[str, object] | None = None,
        kind: str = "link",
        weights: str = "equal",
        var: str | None = None,
        ddf: str = "auto",
        predictor: str | None = None,
    ) -> MarginalMeans:
        """Marginal means or slopes, with contrasts; see `lmeformula.inference.emmeans.emmeans`."""
        from lmeformula.inference.emmeans import emmeans

        return emmeans(
            self,
            specs,
            by,
            at=at,
            kind=kind,
            weights=weights,
            var=var,
            ddf=ddf,
            predictor=predictor,
        )

    @kinds.takes()
    def joint_tests(
        self,
        terms: Sequence[str] | None = None,
        *,
        ddf: str = "auto",
        predictor: str | Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """F tests of whole terms, whatever the contrasts: term, df1, df2, statistic, p_value.

        See `lmeformula.inference.joint_tests.joint_tests`.
        """
        from lmeformula.inference.joint_tests import joint_tests

        return joint_tests(self, terms, ddf=ddf, predictor=predictor)

    def references(self) -> References:
        """The papers of the model and of the methods that this fit used."""
        from lmeformula.handing.references import references

        return references(self)

    @kinds.takes()
    def drop1(
        self,
        test: str = "lrt",
        *,
        ddf: str = "auto",
        seed: int = 0,
        options: Options | None = None,
    ) -> pd.DataFrame:
        """Leave out each term of the fixed part, by "lrt" or "F"; see `lmeformula.inference.drop1.drop1`."""
        from lmeformula.inference.drop1 import drop1

        return drop1(self, test, ddf=ddf, seed=seed, options=options)

    @kinds.takes()
    def update(
        self,
        formula: str | Mapping[str, str | None],
        data: Any,
        *,
        family: str | Family | Kept = KEPT,
        sigma: float | Kept | None = KEPT,
        contrasts: Mapping[str, str] | Kept | None = KEPT,
        functions: Mapping[str, Callable[..., Any]] | Kept | None = KEPT,
        weights: Any = KEPT,
        offset: Any = KEPT,
        dtype: str | Kept = KEPT,
        method: str | Kept = KEPT,
        reml: bool | Kept = KEPT,
        solver: str = "auto",
        seed: int = 0,
        options: Options | None = None,
        progress: Progress | None = None,
    ) -> Fit:
        """Fit a changed formula, "~ . - x" or {"sigma": "~ . - x"}, to data.

        What is "as it was" stays so unless it is given; None takes weights, an offset or a fixed sigma away.
        See `lmeformula.inference.update.update`.
        """
        from lmeformula.inference.update import update

        changed = update(
            self,
            formula,
            data,
            family=family,
            sigma=sigma,
            contrasts=contrasts,
            functions=functions,
            weights=weights,
            offset=offset,
            dtype=dtype,
            method=method,
            reml=reml,
            solver=solver,
            seed=seed,
            options=options,
            progress=progress,
        )
        return Fit.of(changed)

    @kinds.takes()
    def to_marginaleffects(
        self, data: object, *, kind: str = "response", predictor: str | None = None
    ) -> Any:
        """The model that the `marginaleffects` package takes.

        See `lmeformula.inference.marginal_effects.marginaleffects_model`.
        """
        from lmeformula.inference.marginal_effects import marginaleffects_model

        return marginaleffects_model(self, data, kind=kind, predictor=predictor)

    @kinds.takes()
    def icc(
        self,
        *,
        observation: str = "auto",
        mean: float | None = None,
        null: FittedModel | None = None,
    ) -> pd.DataFrame:
        """Intraclass correlations; see `lmeformula.inference.r2.icc`."""
        from lmeformula.inference.r2 import icc

        return icc(self, observation=observation, mean=mean, null=null)

    @kinds.takes()
    def r2(
        self,
        *,
        observation: str = "auto",
        mean: float | None = None,
        null: FittedModel | None = None,
    ) -> R2:
        """Marginal and conditional R2; see `lmeformula.inference.r2.r2`."""
        from lmeformula.inference.r2 import r2

        return r2(self, observation=observation, mean=mean, null=null)

    def __repr__(self) -> str:
        from lmeformula.views.summary import short_repr

        return short_repr(self)
