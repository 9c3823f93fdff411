"""R's functions of a fit, and its calls that make one: each leads to what it is here.

What makes a fit prints the call that it stands for, so that it need not be written twice.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from lmeformula.algebra.crossproducts import layout
from lmeformula.api import fit as _fit
from lmeformula.arguments import kinds
from lmeformula.arguments.spelled import said_otherwise, spelled
from lmeformula.errors import ModelError
from lmeformula.face import Fit
from lmeformula.family.built_in import family as _family
from lmeformula.fit import OF_LOO, check_not_drawn
from lmeformula.formula import parse

if TYPE_CHECKING:
    from lmeformula.history import LogLik
    from lmeformula.prediction.varcorr import VarCorr as Varying

_A_FIT = kinds.instance(Fit, "Give a fit, as lf.fit returns it.")
_of_a_fit = kinds.takes(fit=_A_FIT)


@_of_a_fit
def fixef(fit: Fit) -> pd.Series:
    """Fixed effects; `fit.fixef`.

    Example:
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))
      >>> lf.fixef(fit).round(1).to_dict()
      {'Intercept': 1527.5}
    """
    return fit.fixef


@_of_a_fit
def VarCorr(fit: Fit) -> Varying:
    """Standard deviations and correlations of the random effects; `fit.varcorr`."""
    return fit.varcorr


@_of_a_fit
def vcov(fit: Fit) -> pd.DataFrame:
    """Covariance of the fixed effects; `fit.vcov`."""
    return fit.vcov


@_of_a_fit
def sigma(fit: Fit) -> float | None:
    """The residual standard deviation; `fit.sigma`."""
    return fit.sigma


@_of_a_fit
def logLik(fit: Fit) -> LogLik:
    """The log-likelihood, with its error; `fit.loglik`."""
    check_not_drawn(fit, "log-likelihoods", OF_LOO)
    return fit.loglik


@_of_a_fit
def deviance(fit: Fit) -> float:
    """Minus twice the log-likelihood; `fit.deviance`."""
    return fit.deviance


@_of_a_fit
def nobs(fit: Fit) -> int:
    """Number of observations; `fit.nobs`."""
    return fit.nobs


@_of_a_fit
def ngrps(fit: Fit) -> dict[str, int]:
    """Number of levels of each grouping factor."""
    return {block.group: len(block.levels) for block in fit.model.design.terms}


@_of_a_fit
def isSingular(fit: Fit) -> bool:
    """Whether a covariance of random effects is singular; `fit.singular`."""
    return fit.singular


@_of_a_fit
def isREML(fit: Fit) -> bool:
    """Whether the restricted likelihood was maximised; `fit.reml`."""
    return fit.reml


@kinds.takes(fits=_A_FIT)
def AIC(*fits: Fit) -> float | pd.DataFrame:
    """Akaike's criterion: of one fit a number, of several a table with degrees of freedom, as in R."""
    return _criterion("AIC", fits)


@kinds.takes(fits=_A_FIT)
def BIC(*fits: Fit) -> float | pd.DataFrame:
    """Schwarz's criterion; see `AIC`."""
    return _criterion("BIC", fits)


def _criterion(name: str, fits: tuple[Fit, ...]) -> float | pd.DataFrame:
    if not fits:
        raise ModelError(f"{name} of no fit", hint="Give a fit, or several.")
    values = [getattr(fit, name.lower()) for fit in fits]
    if len(fits) == 1:
        return float(values[0])
    index = [str(fit.formula) for fit in fits]
    return pd.DataFrame({"df": [fit.loglik.df for fit in fits], name: values}, index=index)


def _getter(part: str) -> Callable[[Fit], Any]:
    return operator.attrgetter(part)


# What `getME` knows, of the first linear predictor.
PARTS: Mapping[str, Callable[[Fit], Any]] = {
    "X": lambda fit: pd.DataFrame(fit.model.design.X, columns=list(fit.model.design.names)),
    "Z": lambda fit: sp.csr_array(sp.hstack(layout(fit.model.design.terms).matrices)),
    "b": lambda fit: np.concatenate([np.ravel(modes) for modes in fit.modes]),
    "beta": lambda fit: fit.fixef.to_numpy(),
    "fixef": _getter("fixef"),
    "n": _getter("nobs"),
    "p": lambda fit: len(fit.fixef),
    "q": lambda fit: sum(modes.size for modes in fit.modes),
    "sigma": _getter("sigma"),
    "theta": _getter("theta"),
    "y": _getter("model.design.y"),
}


@kinds.takes(fit=_A_FIT, name=kinds.text)
def getME(fit: Fit, name: str) -> Any:
    """A part of a fitted model by lme4's name: X, Z, y, b, beta, fixef, theta, sigma, n, p, q.

    Raises:
      ModelError: for a name that is none of these, or a model with several linear predictors.
    """
    if name not in PARTS:
        raise ModelError(f"getME knows no {name!r}", hint=f"It knows {', '.join(PARTS)}.")
    if fit.model.design.num_predictors > 1:
        raise ModelError(
            "getME knows one linear predictor, and this model has several",
            hint="Their designs are fit.model.design.predictors.",
        )
    return PARTS[name](fit)


def _method(name: str) -> Callable[..., Any]:
    """R's function of a fit that is a method of that name here."""

    def function(fit: Fit, *args: Any, **kwargs: Any) -> Any:
        _A_FIT("fit", fit)
        return getattr(fit, name)(*args, **kwargs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The method `fit.{name}()`, whose arguments it takes."
    return function


ranef, coef, fitted, residuals = map(_method, ("ranef", "coef", "fitted", "residuals"))
resid = residuals
predict, simulate, confint, drop1 = map(_method, ("predict", "simulate", "confint", "drop1"))
emmeans, summary, tidy, glance = map(_method, ("emmeans", "summary", "tidy", "glance"))
augment, update, refit, icc, r2 = map(_method, ("augment", "update", "refit", "icc", "r2"))


def _told(call: str, formula: object, **given: Any) -> None:
    """Print the call of `lf.fit` that was made."""
    shown = ", ".join([repr(formula), "data", *(f"{k}={v!r}" for k, v in given.items())])
    print(f"{call}: lf.fit({shown})", file=sys.stderr)  # noqa: T201 - it is what the call is for


_elsewhere = said_otherwise(
    subset='Give those rows alone as the data, data[data["x"] > 0].',
    na_action="Rows with missing values are left out, and counted in the summary.",
    control="Its parts are arguments of lf.fit: tolerance, max_iterations, solver.",
    start="A fit finds its own.",
    verbose="progress=True shows how a fit goes.",
    prior="Priors are no part of it: this is maximum likelihood.",
)


@_elsewhere
def lmer(formula: str, data: Any, REML: bool = True, **others: Any) -> Fit:
    """Fit a linear mixed model as lme4's `lmer` does, by REML unless `REML=False`.

    Args:
      formula: the formula.
      data: the data.
      REML: whether to maximise the restricted likelihood.
      **others: of `lf.fit`.
    """
    _told("lmer", formula, reml=REML, **others)
    return _fit(formula, data, reml=REML, **others)


@_elsewhere
def glmer(
    formula: str,
    data: Any,
    family: str = "gaussian",
    nAGQ: int = 1,
    **others: Any,
) -> Fit:
    """Fit a generalized linear mixed model as lme4's `glmer` does, by Laplace's approximation.

    Args:
      formula: the formula.
      data: the data.
      family: its name; the responses of a "binomial" without trials are zeros and ones.
      nAGQ: 1 for Laplace; more for quadrature, with as many nodes as are needed.
      **others: of `lf.fit`.
    Raises:
      ModelError: for nAGQ = 0, and where quadrature does not reach.
    """
    kinds.whole(0)("nAGQ", nAGQ)
    if nAGQ == 0:
        raise ModelError(
            "nAGQ = 0 is no maximum of the likelihood",
            hint="Use nAGQ=1, Laplace's approximation, which takes no longer here.",
        )
    method = "laplace" if nAGQ == 1 else "quadrature"
    _told("glmer", formula, family=family, method=method, **others)
    return _fit(formula, data, family, method=method, **others)


@_elsewhere
def clmm(
    formula: str, data: Any, link: str = "logit", threshold: str = "flexible", **others: Any
) -> Fit:
    """Fit a cumulative link mixed model as ordinal's `clmm` does, by Laplace's approximation.

    Args:
      formula: the formula.
      data: the data.
      link: "logit", "probit", ...
      threshold: "flexible", "equidistant" or "symmetric".
      **others: of `lf.fit`.
    """
    family = f"cumulative({link}, thresholds={threshold})"
    _told("clmm", formula, family=family, method="laplace", **others)
    return _fit(formula, data, family, method="laplace", **others)


# Families of glmmTMB that have zeros of their own once `ziformula` is given.
_WITH_ZEROS = {
    "poisson": "zero_inflated_poisson",
    "nbinom2": "zero_inflated_nbinom2",
    "truncated_poisson": "hurdle_poisson",
    "truncated_nbinom2": "hurdle_nbinom2",
}

# What the probability of a zero is called.
_ZEROS = "zero_probability"


@_elsewhere
@spelled(weight="weights")
def glmmTMB(
    formula: str,
    data: Any,
    family: str = "gaussian",
    ziformula: str = "~0",
    dispformula: str = "~1",
    REML: bool = False,
    **others: Any,
) -> Fit:
    """Fit a model as glmmTMB does, by Laplace's approximation.

    Args:
      formula: of the mean.
      data: the data.
      family: its name.
      ziformula: of the zeros; "~0" for none.
      dispformula: of the family's own parameter, on the logarithm of what it is called here.
      REML: whether to maximise the restricted likelihood, of a Gaussian model.
      **others: of `lf.fit`.
    Raises:
      ModelError: for zeros of a family that has none here, or a dispersion that a family does not have.
    """
    asked, plain = family, kinds.folded(family)
    has_zeros = ziformula.replace(" ", "") != "~0"
    truncated = plain.startswith("truncated")
    if has_zeros or truncated:
        known = {kinds.folded(name): into for name, into in _WITH_ZEROS.items()}
        if plain not in known or (truncated and not has_zeros):
            raise ModelError(
                f"there is no {family} family {'with' if has_zeros else 'without'} zeros here",
                hint=f"With ziformula: {', '.join(_WITH_ZEROS)}.",
            )
        asked = known[plain]
    parts: dict[str, str] = {}
    if has_zeros:
        parts[_ZEROS] = ziformula
    if dispformula.replace(" ", "") != "~1":
        predicted = [one.name for one in _family(asked).predicted if one.name not in (_ZEROS, "df")]
        if len(predicted) != 1:
            how_many = "more than one parameter" if predicted else "no parameter"
            raise ModelError(
                f"the {asked} family has {how_many} for dispformula",
                hint='Give a formula for each, lf.fit({"mu": ..., "phi": ...}, data).',
            )
        parts[predicted[0]] = dispformula
    written: Any = {"mu": formula, **parts} if parts else formula
    how = {"reml": REML} if kinds.folded(asked) == "gaussian" else {"method": "laplace"}
    if REML and "reml" not in how:
        raise ModelError("REML is of Gaussian models here", hint="Leave REML out.")
    _told("glmmTMB", written, family=asked, **how, **others)
    return _fit(written, data, asked, **how, **others)


@_elsewhere
def brm(formula: Any, data: Any, family: str = "gaussian", **others: Any) -> Fit:
    """Fit the model that brms would sample, by maximum likelihood, without priors.

    Args:
      formula: a formula, or one for each parameter as `lf.fit` takes them.
      data: the data.
      family: its name.
      **others: of `lf.fit`.
    """
    if isinstance(formula, str):
        parse(formula)
    _told("brm, by maximum likelihood and without priors", formula, family=family, **others)
    return _fit(formula, data, family, **others)
