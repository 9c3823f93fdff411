"""What other packages call what a fit has: answered with what to write here."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# R's functions of a fit, and its calls that make one; `lmeformula.as_in_r` has them.
IN_R = frozenset(
    (
        "AIC",
        "BIC",
        "VarCorr",
        "augment",
        "brm",
        "clmm",
        "coef",
        "confint",
        "deviance",
        "drop1",
        "emmeans",
        "fitted",
        "fixef",
        "getME",
        "glance",
        "glmer",
        "glmmTMB",
        "icc",
        "isREML",
        "isSingular",
        "lmer",
        "logLik",
        "ngrps",
        "nobs",
        "predict",
        "r2",
        "ranef",
        "refit",
        "resid",
        "residuals",
        "sigma",
        "simulate",
        "summary",
        "tidy",
        "update",
        "vcov",
    )
)
# A method or an attribute of lme4, statsmodels, bambi or pymer4 -> what it is here.
OF_A_FIT = {
    "AIC": "fit.aic",
    "BIC": "fit.bic",
    "VarCorr": "fit.varcorr",
    "bootstrap": 'fit.confint(method="boot"), or fit.refit(fit.simulate(1000))',
    "bse": "fit.stderr, or fit.tidy() of all parameters",
    "bse_fe": "fit.stderr",
    "coefs": "fit.tidy()",
    "conf_int": "fit.confint()",
    "contrast": "fit.emmeans(...).contrasts()",
    "cov_params": "fit.vcov, or fit.param_vcov of all parameters",
    "cov_re": "fit.varcorr, or fit.params.covariances",
    "data": "the data themselves; a fit keeps what it needs of them, fit.augment()",
    "df_residual": "fit.df_resid",
    "equation": "fit.model.equation",
    "fe_params": "fit.fixef",
    "fittedvalues": "fit.fitted()",
    "get_prediction": 'fit.predict(newdata, interval="confidence")',
    "isSingular": "fit.singular",
    "is_singular": "fit.singular",
    "llf": "fit.loglik.value",
    "logLik": "fit.loglik",
    "logLike": "fit.loglik",
    "log_likelihood": "fit.loglik",
    "marginal_effects": "fit.to_marginaleffects()",
    "nobs_": "fit.nobs",
    "plot_predictions": "fit.emmeans(...), or fit.predict(newdata)",
    "posterior": "fit.to_arviz()",
    "pvalues": 'fit.tidy()["p_value"], or fit.joint_tests()',
    "random_effects": "fit.ranef()",
    "re_params": "fit.varcorr",
    "resid": "fit.residuals()",
    "rsquared": "fit.r2()",
    "scale": "fit.sigma, or fit.family_params",
    "score": "fit.cross_validate()",
    "t_test": "fit.emmeans(...).contrasts(), or fit.joint_tests()",
    "to_latex": "fit.model.equation",
    "wald_test": "fit.joint_tests()",
}
# A function of the package as R would have it, which is none here.
OF_THE_PACKAGE = {
    "allFit": "fit.certificate: there is one optimiser, and this says how sure its answer is",
    "bf": 'a formula for each parameter: lf.fit({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, data)',
    "bootMer": 'fit.confint(method="boot"), or fit.refit(fit.simulate(1000))',
    "gls": 'lf.fit with a term over time, "y ~ visit + ar1(0 + visit | subject)"',
    "lme": 'the random part in the formula: lf.fit("y ~ x + (1 | g)", data)',
    "lmerControl": "arguments of lf.fit itself: tolerance, max_iterations, solver",
    "glmerControl": "arguments of lf.fit itself: tolerance, max_iterations, solver",
    "mixedlm": 'the random part in the formula: lf.fit("y ~ x + (1 | g)", data)',
    "powerSim": "lf.power(fit, effect)",
    "read_csv": "pandas.read_csv, or lf.fit(formula, path)",
}


def answer(asked: str, of: str, known: Iterable[str], table: dict[str, str]) -> str:
    """What to say where something is asked for that is not there.

    Args:
      asked: its name.
      of: what it was asked of, "a fit".
      known: what there is.
      table: names elsewhere -> what to write here.
    Example:
      >>> answer("llf", "a fit", ["loglik"], OF_A_FIT)
      "a fit has no 'llf': write fit.loglik.value"
      >>> answer("logliks", "a fit", ["loglik"], OF_A_FIT)
      "a fit has no 'logliks'. Did you mean 'loglik'?"
    """
    if asked in table:
        return f"{of} has no {asked!r}: write {table[asked]}"
    near = difflib.get_close_matches(asked, known, n=1, cutoff=0.7)
    return f"{of} has no {asked!r}" + (f". Did you mean {near[0]!r}?" if near else "")
