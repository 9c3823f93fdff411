"""The fit that a user holds: a fitted model with all that comes after by its name.

This is the only file that knows all statistics. What a method needs is imported when it is called, so that
a fit is not kept waiting for them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from lmeformula.arguments import kinds
from lmeformula.arguments.elsewhere import OF_A_FIT, answer
from lmeformula.arguments.methods import Method, Modules
from lmeformula.arguments.spelled import said_otherwise, spelled
from lmeformula.fit import FittedModel

if TYPE_CHECKING:
    import pandas as pd

    import lmeformula.checking.check
    import lmeformula.checking.cross_validate
    import lmeformula.handing.arviz
    import lmeformula.handing.augment
    import lmeformula.handing.references
    import lmeformula.inference.confint
    import lmeformula.inference.drop1
    import lmeformula.inference.emmeans
    import lmeformula.inference.joint_tests
    import lmeformula.inference.marginal_effects
    import lmeformula.inference.profile
    import lmeformula.inference.r2
    import lmeformula.inference.refits
    import lmeformula.inference.smooth_tests
    import lmeformula.inference.tidy
    import lmeformula.inference.update
    import lmeformula.prediction.joint
    import lmeformula.prediction.predict
    import lmeformula.prediction.predictions
    import lmeformula.prediction.ranef
    import lmeformula.prediction.residuals
    import lmeformula.prediction.simulate
    import lmeformula.serving.export
    import lmeformula.store.save
    import lmeformula.views.summary
    from lmeformula.checking.diagnosis import Diagnostics
    from lmeformula.inference.anova import Anova
    from lmeformula.prediction.called import CalledFrame, CalledSeries
    from lmeformula.prediction.varcorr import VarCorr
    from lmeformula.views.plot_methods import Plots
else:
    lmeformula = Modules("lmeformula")

P = ParamSpec("P")
# Arguments that R has: one that is called otherwise here, and others of its predictions.
_takes_type = spelled(type="kind")
_says_where = said_otherwise(
    se_fit='Use interval="confidence": estimate, lower and upper.',
    allow_new_levels='Use new_levels="sample", or "population" for an effect of zero.',
)

_says_cond = said_otherwise(
    condVar="Use cond_sd=True, for conditional standard deviations.",
    postVar="Use cond_sd=True, for conditional standard deviations.",
)


def _fits(
    function: Callable[Concatenate[Any, P], FittedModel],
) -> Callable[Concatenate[Any, P], Fit]:
    """A function whose fitted model gets the methods."""
    return _with_methods(function, "Fit")


def _with_methods(
    function: Callable[Concatenate[Any, P], object], returns: str
) -> Callable[Concatenate[Any, P], Any]:
    """A function whose fitted model, where it returns one, gets the methods."""

    @functools.wraps(function)
    def with_methods(fit: Any, /, *args: P.args, **kwargs: P.kwargs) -> object:
        found = function(fit, *args, **kwargs)
        return Fit.of(found) if isinstance(found, FittedModel) else found

    signature = inspect.signature(function).replace(return_annotation=returns)
    vars(with_methods)["__signature__"] = signature
    return with_methods


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

    # The random effects.
    ranef = Method(lambda: _says_cond(lmeformula.prediction.ranef.ranef))
    coef = Method(lambda: lmeformula.prediction.ranef.coef)

    @property
    def varcorr(self) -> VarCorr:
        """Standard deviations and correlations of the random effects, and sigma."""
        from lmeformula.prediction.varcorr import varcorr

        return varcorr(self)

    # R has functions of these names, which are called.
    @property
    def fixef(self) -> CalledSeries:
        """The fixed effects."""
        from lmeformula.prediction.called import CalledSeries

        return CalledSeries(FittedModel.fixef.fget(self))  # type: ignore[attr-defined]

    @property
    def vcov(self) -> CalledFrame:
        """Covariance matrix of the fixed effects."""
        from lmeformula.prediction.called import CalledFrame

        return CalledFrame(FittedModel.vcov.fget(self))  # type: ignore[attr-defined]

    @property
    def priors(self) -> pd.DataFrame:
        """The prior of each parameter; see `lmeformula.prediction.priors.priors_of_fit`."""
        from lmeformula.prediction.priors import priors_of_fit

        return priors_of_fit(self)

    # The rows of the fit, and new ones.
    fitted = Method(lambda: lmeformula.prediction.predict.fitted)
    simulate = Method(lambda: lmeformula.prediction.simulate.simulate)
    residuals = Method(lambda: _takes_type(lmeformula.prediction.residuals.residuals))
    predict = Method(lambda: _takes_type(_says_where(lmeformula.prediction.predictions.predict)))
    joint_for = Method(lambda: kinds.takes()(lmeformula.prediction.joint.joint_for))

    @property
    def joint(self) -> Any:
        """The joint distribution of random effects and response, its variables at the estimates."""
        return self.model.joint

    @property
    def joint_effects(self) -> dict[str, Any]:
        """Posterior means of the random effects, by their parts of the joint distribution."""
        from lmeformula.prediction.joint import joint_effects

        return joint_effects(self)

    # Estimates with intervals and tests.
    tidy = Method(lambda: lmeformula.inference.tidy.tidy)
    glance = Method(lambda: lmeformula.inference.tidy.glance)
    confint = Method(lambda: lmeformula.inference.confint.confint)
    profile = Method(lambda: lmeformula.inference.profile.profile)
    joint_tests = Method(lambda: lmeformula.inference.joint_tests.joint_tests)
    drop1 = Method(lambda: lmeformula.inference.drop1.drop1)
    smooths = Method(lambda: lmeformula.inference.smooth_tests.smooths)
    icc = Method(lambda: lmeformula.inference.r2.icc)
    r2 = Method(lambda: lmeformula.inference.r2.r2)
    emmeans = Method(lambda: _takes_type(lmeformula.inference.emmeans.emmeans))

    @kinds.takes()
    def anova(self, *others: Fit, level: float = 0.05) -> Anova:
        """Likelihood-ratio tests between this fit and others; see `lmeformula.inference.anova.anova`."""
        from lmeformula.inference.anova import anova

        return anova(self, *others, level=level)

    # The same model of other responses, and other models of the same.
    refit = Method(lambda: _with_methods(lmeformula.inference.refits.refit, "Fit | Refits"))
    update = Method(lambda: _fits(lmeformula.inference.update.update))

    # Whether to believe it.
    check = Method(lambda: lmeformula.checking.check.check)
    cross_validate = Method(lambda: lmeformula.checking.cross_validate.cross_validate)

    @property
    def diagnostics(self) -> Diagnostics:
        """How the fit was come by, how sure it is, and where the time went; prints in words."""
        from lmeformula.checking.diagnostics import diagnostics

        return diagnostics(self)

    # For readers, and for other programs.
    summary = Method(lambda: lmeformula.views.summary.summary)
    augment = Method(lambda: lmeformula.handing.augment.augment)
    references = Method(lambda: lmeformula.handing.references.references)
    to_arviz = Method(lambda: lmeformula.handing.arviz.to_arviz)
    to_marginaleffects = Method(lambda: lmeformula.inference.marginal_effects.to_marginaleffects)
    save = Method(lambda: lmeformula.store.save.save)
    export = Method(lambda: lmeformula.serving.export.export)

    @property
    def plot(self) -> Plots:
        """Plots of this fit, as methods."""
        from lmeformula.views.plot_methods import Plots

        return Plots(self)

    def __getattr__(self, name: str) -> Any:
        # What is there is found before; the rest is asked for by a slip, or from habit.
        if name.startswith("_"):
            raise AttributeError(name)
        raise AttributeError(answer(name, "a fit", dir(type(self)), OF_A_FIT))

    def _repr_html_(self) -> str:
        from lmeformula.views.summary import summary

        return summary(self)._repr_html_()

    def __repr__(self) -> str:
        from lmeformula.views.summary import short_repr

        return short_repr(self)
