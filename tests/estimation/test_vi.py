"""Variational inference, held to exact posteriors, to integrals, and to what it says of itself."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import multivariate_normal

import lmeformula as lf
from lmeformula.drawn import Surrogate
from lmeformula.estimation.by_vi import certify_surrogate, outcome_of
from tests.drawn import EFFECTS, ERRORS, PRIORS, SCHOOLS
from tests.estimation.test_nuts import integrated

# Beyond so many of its errors a mean is another one.
RARE = 4.5
# A standard deviation of the schools that is known, but for a ten thousandth of itself.
KNOWN = 5.0
NEARLY_KNOWN = {
    "Intercept": "normal(0, 5)",
    "sd(school)": f"lognormal({np.log(KNOWN)}, 0.0001)",
}


@functools.cache
def of_schools(known: bool = False, **options) -> lf.Fit:
    return lf.fit(
        "y ~ 1 + (1 | school)",
        SCHOOLS,
        sigma=1.0,
        weights="w",
        priors=NEARLY_KNOWN if known else PRIORS,
        method="vi",
        seed=3,
        progress=False,
        **options,
    )


def evidence() -> float:
    """The log density of the schools' effects under the priors, by an integral over tau."""

    def given(tau: float) -> float:
        covariance = np.diag(ERRORS**2 + tau**2) + 25.0
        density = multivariate_normal(np.zeros(8), covariance).pdf(EFFECTS)
        return density * 2.0 / (np.pi * 5.0) / (1.0 + (tau / 5.0) ** 2)

    return float(np.log(sum(quad(given, *ends)[0] for ends in ((0.0, 20.0), (20.0, np.inf)))))


def test_a_posterior_that_is_normal_is_found_exactly():
    """With known variances all is normal: its mean, its sd and the evidence are exact."""
    fit = of_schools(known=True)
    precision = 1.0 / 25.0 + (1.0 / (ERRORS**2 + KNOWN**2)).sum()
    mean = (EFFECTS / (ERRORS**2 + KNOWN**2)).sum() / precision
    row = fit.tidy().iloc[0]
    count = fit.draws.num_chains * fit.draws.num_draws
    assert abs(row["estimate"] - mean) < RARE * row["mc_error"]
    assert abs(row["std_error"] * np.sqrt(precision) - 1.0) < RARE / np.sqrt(2.0 * count)
    covariance = np.diag(ERRORS**2 + KNOWN**2) + 25.0
    exact = multivariate_normal(np.zeros(8), covariance).logpdf(EFFECTS)
    near = fit.draws.surrogate
    # Where the distribution is the posterior itself each ratio is the evidence.
    assert near.elbo <= exact + RARE * near.elbo_error
    assert near.elbo == pytest.approx(exact, abs=0.01)
    assert near.khat < 0.7
    assert fit.outcome is lf.Outcome.APPROXIMATED
    assert fit.converged


def test_the_schools_by_importance_are_those_of_the_integrals():
    truth, fit = integrated(), of_schools(importance=True)
    near, table = fit.draws.surrogate, fit.tidy()
    for name, (_, row) in zip(("Intercept", "sd(school)"), table.iterrows(), strict=True):
        assert abs(row["estimate"] - truth[name]) < RARE * row["mc_error"]
        error = truth[f"sd {name}"] * np.sqrt(2.0 / near.effective)
        assert abs(row["std_error"] - truth[f"sd {name}"]) < 2.0 * RARE * error


def test_the_bound_is_below_the_evidence_which_ratios_average_to():
    fit, known = of_schools(), evidence()
    near = fit.draws.surrogate
    assert near.elbo < known + RARE * near.elbo_error
    ratios = np.exp(near.log_ratios.ravel() - known)
    error = ratios.std(ddof=1) / np.sqrt(ratios.size)
    assert abs(ratios.mean() - 1.0) < RARE * error


def test_without_covariances_the_bound_is_lower():
    near, whole = of_schools(surrogate="factored").draws.surrogate, of_schools().draws.surrogate
    assert near.elbo < whole.elbo + RARE * np.hypot(near.elbo_error, whole.elbo_error)
    ratios = np.exp(near.log_ratios.ravel() - evidence())
    assert abs(ratios.mean() - 1.0) < RARE * ratios.std(ddof=1) / np.sqrt(ratios.size)


def test_what_follows_is_that_of_draws(tmp_path):
    fit = of_schools()
    text = " ".join(str(fit.summary()).split())
    assert "approximation to the posterior distribution, by variational inference" in text
    assert "a bent normal distribution with all covariances, 4,000 draws" in text
    assert "Pareto's k" in text
    assert "R-hat" not in text
    assert fit.glance()["divergences"].item() == 0
    table = fit.predict(interval="confidence")
    assert (table["lower"] < table["upper"]).all()
    data = fit.to_arviz(num_draws=40)
    assert data["posterior"]["sd(school)"].shape == (4, 1000)
    assert set(data["sample_stats"].data_vars) == {"lp", "log_importance"}
    assert "warmup_posterior" not in data.groups()
    again = lf.load(fit.save(tmp_path / "schools.zip", data=True))
    assert np.array_equal(again.draws.surrogate.log_ratios, fit.draws.surrogate.log_ratios)
    assert str(again.summary()) == str(fit.summary())
    assert "Automatic differentiation" in str(fit.references())
    with pytest.raises(lf.ModelError, match="draws"):
        fit.profile()


def test_the_same_seed_gives_the_same_bits():
    again = of_schools.__wrapped__()
    assert np.array_equal(again.draws.psi, of_schools().draws.psi)


def surrogate(**fields) -> Surrogate:
    known = {
        "elbo": -30.0,
        "elbo_error": 0.1,
        "khat": 0.2,
        "log_ratios": np.zeros((2, 5)),
        "effective": 8.0,
        "num_steps": 300,
        "has_settled": True,
    }
    return Surrogate(**{**known, **fields})


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, lf.Outcome.APPROXIMATED),
        ({"khat": 0.71}, lf.Outcome.POOR_SURROGATE),
        ({"khat": np.nan}, lf.Outcome.POOR_SURROGATE),
        ({"khat": np.inf, "has_settled": False}, lf.Outcome.POOR_SURROGATE),
        ({"has_settled": False}, lf.Outcome.UNSETTLED_SURROGATE),
    ],
)
def test_what_is_far_from_the_posterior_is_said_to_be(fields, outcome):
    certificate = certify_surrogate(surrogate(**fields))
    assert outcome_of(certificate) is outcome
    assert ("not to be believed" in str(certificate)) is (outcome is lf.Outcome.POOR_SURROGATE)


REFUSED = {
    "reml": ({"reml": True}, 'method="vi" has no restricted likelihood'),
    "checkpoint": ({"checkpoint": "there"}, 'method="vi" keeps no checkpoint'),
    "warm-up": ({"num_warmup": 100}, "no option 'num_warmup'"),
    "of another": ({"method": "nuts", "surrogate": "factored"}, "no option 'surrogate'"),
    "unknown": ({"surrogate": "full"}, "full_rank"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_fitted_is_refused_in_words(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, words = REFUSED[what]
    data = lf.datasets.load("dyestuff")
    with pytest.raises(lf.ModelError, match=words):
        lf.fit("Yield ~ 1 + (1 | Batch)", data, **{"method": "vi", "progress": False, **options})


def test_too_many_effects_for_all_covariances_are_refused(monkeypatch):
    monkeypatch.setattr("lmeformula.estimation.by_vi.MOST_TOGETHER", 5)
    data = lf.datasets.load("dyestuff")
    with pytest.raises(lf.ModelError, match='surrogate="factored"'):
        lf.fit("Yield ~ 1 + (1 | Batch)", data, method="vi", progress=False)
