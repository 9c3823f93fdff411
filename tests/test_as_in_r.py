"""R's functions of a fit and its calls are what they are here."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula import as_in_r
from lmeformula.arguments.elsewhere import IN_R


@pytest.fixture(scope="module")
def fit() -> lf.Fit:
    return lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))


SAME = {
    "fixef": lambda fit: fit.fixef,
    "VarCorr": lambda fit: fit.varcorr,
    "vcov": lambda fit: fit.vcov,
    "sigma": lambda fit: fit.sigma,
    "logLik": lambda fit: fit.loglik,
    "deviance": lambda fit: fit.deviance,
    "nobs": lambda fit: 180,
    "ngrps": lambda fit: {"Subject": 18},
    "isSingular": lambda fit: False,
    "isREML": lambda fit: False,
    "AIC": lambda fit: fit.aic,
    "BIC": lambda fit: fit.bic,
    "ranef": lambda fit: fit.ranef(),
    "coef": lambda fit: fit.coef()["Subject"],
    "fitted": lambda fit: fit.fitted(),
    "resid": lambda fit: fit.residuals(),
    "residuals": lambda fit: fit.residuals(),
    "predict": lambda fit: fit.fitted(),
    "confint": lambda fit: fit.confint(),
    "summary": lambda fit: fit.summary(),
    "tidy": lambda fit: fit.tidy(),
    "glance": lambda fit: fit.glance(),
    "drop1": lambda fit: fit.drop1(),
    "icc": lambda fit: fit.icc(),
    "r2": lambda fit: fit.r2(),
    "augment": lambda fit: fit.augment(),
}


@pytest.mark.parametrize("name", SAME)
def test_a_function_of_a_fit_is_what_it_is_here(name: str, fit: lf.Fit) -> None:
    found, same = getattr(lf, name)(fit), SAME[name](fit)
    if name == "coef":
        found = found["Subject"]
    if isinstance(same, pd.DataFrame):
        pd.testing.assert_frame_equal(pd.DataFrame(found), pd.DataFrame(same))
    elif isinstance(same, pd.Series):
        np.testing.assert_array_equal(found, same)
    else:
        assert str(found) == str(same)


def test_all_names_lead_somewhere() -> None:
    assert all(callable(getattr(as_in_r, name)) for name in IN_R)
    assert not IN_R & set(lf.__all__)


def test_what_is_no_fit_is_refused() -> None:
    for name in ("fixef", "ranef", "AIC"):
        with pytest.raises(lf.ModelError, match="Give a fit"):
            getattr(lf, name)("y ~ x")


def test_criteria_of_several_fits_are_a_table(fit: lf.Fit) -> None:
    smaller = lf.update(fit, "~ . - (Days | Subject) + (1 | Subject)")
    table = lf.AIC(fit, smaller)
    assert table["AIC"].tolist() == [fit.aic, smaller.aic]
    assert table["df"].tolist() == [6, 4]
    with pytest.raises(lf.ModelError, match="of no fit"):
        lf.BIC()


def test_parts_of_a_model(fit: lf.Fit) -> None:
    part = {name: lf.getME(fit, name) for name in as_in_r.PARTS}
    assert part["X"].shape == (180, 2)
    assert part["Z"].shape == (180, 36)
    assert (part["n"], part["p"], part["q"]) == (180, 2, 36)
    # What lme4's help says of them.
    eta = part["X"].to_numpy() @ part["beta"] + part["Z"] @ part["b"]
    np.testing.assert_allclose(eta, fit.fitted())
    np.testing.assert_allclose(part["y"] - eta, fit.residuals())
    with pytest.raises(lf.ModelError, match="It knows X, Z, b"):
        lf.getME(fit, "Lambdat")


def test_parts_of_several_predictors_are_refused() -> None:
    several = {"mu": "Reaction ~ Days + (1 | Subject)", "sigma": "~ Days"}
    fit = lf.fit(several, lf.datasets.load("sleepstudy"))
    with pytest.raises(lf.ModelError, match="several"):
        lf.getME(fit, "X")


# A call of R -> what it says that it stands for, and its log-likelihood there.
CALLS = {
    # lme4 1.1-31, sleepstudy: lmer(Reaction ~ Days + (Days | Subject)), -871.8141.
    "lmer": (
        lambda: lf.lmer("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy")),
        "lmer: lf.fit('Reaction ~ Days + (Days | Subject)', data, reml=True)",
        -871.8141,
    ),
    # glmmTMB 1.1.5, cbpp: glmmTMB(cbind(incidence, size - incidence) ~ period + (1 | herd), family = binomial),
    # -92.02628; lme4's own ends at -92.02657, short of the mode by its tolerance.
    "glmer": (
        lambda: lf.glmer(
            "incidence | trials(size) ~ period + (1 | herd)",
            lf.datasets.load("cbpp"),
            family="binomial",
        ),
        "family='binomial', method='laplace'",
        -92.02628,
    ),
    # ordinal 2022.11-16, wine: clmm(rating ~ temp + contact + (1 | judge)), -81.56541.
    "clmm": (
        lambda: lf.clmm("rating ~ temp + contact + (1 | judge)", lf.datasets.load("wine")),
        "family='cumulative(logit, thresholds=flexible)'",
        -81.56541,
    ),
    # glmmTMB 1.1.5, Salamanders: glmmTMB(count ~ spp + (1 | site), family = nbinom2, ziformula = ~ mined,
    # dispformula = ~ mined), -833.4694.
    "glmmTMB": (
        lambda: lf.glmmTMB(
            "count ~ spp + (1 | site)",
            lf.datasets.load("Salamanders"),
            family="nbinom2",
            ziformula="~ mined",
            dispformula="~ mined",
        ),
        "'zero_probability': '~ mined', 'dispersion': '~ mined'}, data, family='zero_inflated_nbinom2'",
        -833.4694,
    ),
    "brm": (
        lambda: lf.brm("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy")),
        "brm, by maximum likelihood and without priors: lf.fit(",
        -875.9697,
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_of_r_fits_and_says_what_it_stands_for(
    call: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run, said, loglik = CALLS[call]
    assert run().loglik.value == pytest.approx(loglik, abs=1e-4)
    assert said in capsys.readouterr().err


REFUSED = {
    "nodes": (
        lambda data: lf.glmer("y ~ x + (1 | g)", data, family="poisson", nAGQ=0),
        "nAGQ = 0",
    ),
    "zeros": (
        lambda data: lf.glmmTMB("y ~ x + (1 | g)", data, family="gamma", ziformula="~ 1"),
        "no gamma family with zeros",
    ),
    "truncated": (
        lambda data: lf.glmmTMB("y ~ x + (1 | g)", data, family="truncated_poisson"),
        "no truncated_poisson family without zeros",
    ),
    "dispersion": (
        lambda data: lf.glmmTMB("y ~ x + (1 | g)", data, family="poisson", dispformula="~ x"),
        "poisson family has no parameter for dispformula",
    ),
    "restricted": (
        lambda data: lf.glmmTMB("y ~ x + (1 | g)", data, family="poisson", REML=True),
        "REML is of Gaussian models",
    ),
    "control": (lambda data: lf.lmer("y ~ x + (1 | g)", data, control=1), "no argument 'control'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_r_has_and_this_has_not_is_refused(case: str) -> None:
    run, said = REFUSED[case]
    with pytest.raises((lf.ModelError, lf.ArgumentError), match=said):
        run({"y": [1], "x": [1.0], "g": ["a"]})
