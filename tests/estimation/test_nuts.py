"""Draws from posterior distributions, held to integrals and to a published reference posterior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad

import lmeformula as lf
from lmeformula.estimation.evidence.posterior import (
    certify_draws,
    largest_by_chance,
    mixing_of,
    outcome_of,
)
from lmeformula.model.default_priors import with_defaults
from lmeformula.sampling.nuts.run import windows
from tests.drawn import EFFECTS, ERRORS, of_schools
from tests.drawn import schools as schools_fit

# posteriordb (commit e354533), eight_schools-eight_schools_noncentered: means of 10,000 draws of Stan with
# their Monte Carlo errors; mu ~ normal(0, 5), tau ~ half-Cauchy(0, 5).
MEANS = {"Intercept": 4.41051833695493, "sd(school)": 3.60205952364059}
MEAN_ERRORS = {"Intercept": 0.0330374705950917, "sd(school)": 0.0318615135640706}
THETA = np.array(
    [
        6.15050229334425,
        4.9395811407422,
        3.90590609001582,
        4.79601675138494,
        3.6144363246799,
        4.0511475789675,
        6.31716975886893,
        4.88399694353288,
    ]
)
THETA_ERROR = 0.056
# Beyond so many of its errors a mean is another one.
RARE = 4.5


@pytest.fixture(name="schools")
def fixture() -> lf.Fit:
    return schools_fit()


def integrated() -> dict[str, float]:
    """Posterior means and standard deviations, by integrals over tau: given that all is normal."""

    def given(tau: float) -> tuple[float, float, float]:
        spread = ERRORS**2 + tau**2
        precision = 1.0 / 25.0 + (1.0 / spread).sum()
        mean = (EFFECTS / spread).sum() / precision
        log_density = -0.5 * (np.log(spread).sum() + np.log(precision))
        log_density -= 0.5 * ((EFFECTS**2 / spread).sum() - precision * mean**2)
        return np.exp(log_density + 20.0) / (1.0 + (tau / 5.0) ** 2), mean, 1.0 / precision

    def integral(what) -> float:
        return sum(
            quad(lambda tau: what(tau, *given(tau)), *ends, limit=200, epsabs=0, epsrel=1e-9)[0]
            for ends in ((0.0, 20.0), (20.0, np.inf))
        )

    whole = integral(lambda tau, p, mean, variance: p)
    mu = integral(lambda tau, p, mean, variance: p * mean) / whole
    square = integral(lambda tau, p, mean, variance: p * (variance + mean**2)) / whole
    tau = integral(lambda tau, p, mean, variance: p * tau) / whole
    tau_square = integral(lambda tau, p, mean, variance: p * tau**2) / whole
    return {
        "Intercept": mu,
        "sd Intercept": np.sqrt(square - mu**2),
        "sd(school)": tau,
        "sd sd(school)": np.sqrt(tau_square - tau**2),
    }


def test_the_integrals_are_those_of_the_published_posterior():
    truth = integrated()
    for name, mean in MEANS.items():
        assert abs(truth[name] - mean) < RARE * MEAN_ERRORS[name]


def test_means_and_spreads_are_those_of_the_integrals(schools):
    truth, table = integrated(), schools.tidy()
    for name, (_, row) in zip(MEANS, table.iterrows(), strict=True):
        assert row["mc_error"] < 0.06 * row["std_error"]
        assert abs(row["estimate"] - truth[name]) < RARE * row["mc_error"]
        # Of a standard deviation from n effective draws with heavy tails: as the tails have them.
        error = truth[f"sd {name}"] * np.sqrt(2.0 / min(row["ess_tail"], row["ess_bulk"]))
        assert abs(row["std_error"] - truth[f"sd {name}"]) < RARE * error


def test_the_schools_are_those_of_the_published_posterior(schools):
    draws = schools.draws
    theta = draws.values[:, :, :1] + draws.effects[0][:, :, :, 0]
    error = np.hypot(mixing_of(theta).mcse, THETA_ERROR)
    assert (np.abs(theta.mean(axis=(0, 1)) - THETA) < RARE * error).all()


def test_the_certificate_is_that_of_draws(schools):
    claims = [claim.name for claim in schools.certificate.claims]
    assert claims == [
        "agreement of chains",
        "effective draws",
        "divergences",
        "energies",
        "tree depth",
    ]
    assert schools.outcome is lf.Outcome.SAMPLED
    assert schools.converged
    assert schools.certificate["effective draws"].figure > 400


def test_the_same_seed_gives_the_same_bits(schools):
    again = of_schools(num_draws=10)
    assert np.array_equal(again.draws.psi, schools.draws.psi[:, :10])


def test_draws_that_are_bad_are_said_to_be(schools):
    names = schools.param_names
    draws = schools.draws

    def changed(**fields):
        found = {name: getattr(draws, name) for name in draws.__slots__}
        return type(draws)(**{**found, **fields})

    def outcome(bad) -> lf.Outcome:
        return outcome_of(certify_draws(bad, names), was_interrupted=False)

    apart = draws.values + np.arange(4)[:, None, None] * 5.0
    assert outcome(changed(mixing=mixing_of(apart))) is lf.Outcome.NOT_MIXED
    diverging = draws.stats._replace(diverging=np.ones_like(draws.stats.diverging))
    assert outcome(changed(stats=diverging)) is lf.Outcome.DIVERGENT
    few = mixing_of(draws.values[:, :60])._replace(rhat=np.ones(len(names)))
    assert outcome(changed(mixing=few)) is lf.Outcome.FEW_DRAWS
    assert outcome(changed(bfmi=np.array([0.1, 1.0, 1.0, 1.0]))) is lf.Outcome.NOT_MIXED
    assert largest_by_chance(1e9, 4, 200) == pytest.approx(1.0, abs=1e-6)


def test_windows_are_all_of_warm_up():
    for asked in (0, 10, 75, 100, 300, 1000, 1010, 3000):
        assert 0 <= sum(windows(asked)) - asked < 25


def test_what_has_no_prior_gets_one_of_the_scale_of_the_response():
    data = lf.datasets.load("sleepstudy")
    design = lf.design("Reaction ~ Days + (Days | Subject)", data)
    given = with_defaults(lf.compile(design, priors={"sd(Subject:Days)": "half_normal(20)"})).priors
    assert given.given == {
        "sd(Subject:Days)": "half_normal(20)",
        "sd(Subject:Intercept)": "half_student(3, 0, 59.3)",
        "sigma": "half_student(3, 0, 59.3)",
    }
    assert given.chosen.given == {"sd(Subject:Days)": "half_normal(20)"}
    whole = with_defaults(lf.compile(design, priors={"cov(Subject)": "wishart()"})).priors
    assert set(whole.given) == {"cov(Subject)", "sigma"}


REFUSED = {
    "reml": ({"reml": True}, "restricted likelihood"),
    "solver": ({"solver": "iterative"}, "direct solver"),
    "checkpoint": ({"checkpoint": "there"}, "no checkpoint"),
    "float32": ({"dtype": "float32"}, "float64"),
    "no residual": ({"sigma": 0.0}, "without a residual"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_drawn_is_refused_in_words(what, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, words = REFUSED[what]
    data = lf.datasets.load("sleepstudy")
    formula = "Reaction ~ 1 + (1 | Subject)"
    if what == "no residual":
        formula = "Reaction ~ 1 + us(0 + factor(Days) | Subject)"
    with pytest.raises(lf.ModelError, match=words):
        lf.fit(formula, data, method="nuts", progress=False, **options)


def test_effects_by_student_are_refused():
    data = lf.datasets.load("sleepstudy")
    with pytest.raises(lf.ModelError, match="Student's t"):
        lf.fit('Reaction ~ 1 + (1 | gr(Subject, dist = "student"))', data, method="nuts")


def test_options_of_other_methods_are_told_apart():
    data = lf.datasets.load("sleepstudy")
    with pytest.raises(lf.ModelError, match="num_warmup"):
        lf.fit("Reaction ~ 1 + (1 | Subject)", data, method="laplace", num_warmup=100)
    with pytest.raises(lf.ModelError, match="fewer"):
        lf.fit("Reaction ~ 1 + (1 | Subject)", data, method="nuts", num_draws=10_000_000)


def test_the_density_is_held_to_the_joint_distribution(monkeypatch):
    """A kind of effects that the density does not know of is refused, not drawn wrongly."""
    from lmeformula.sampling.nuts.target import Target

    true = Target.joint_log_prob
    monkeypatch.setattr(Target, "joint_log_prob", lambda *given: true(*given) + 0.1)
    data = lf.datasets.load("dyestuff")
    with pytest.raises(lf.ModelError, match="of another kind"):
        lf.fit("Yield ~ 1 + (1 | Batch)", data, method="nuts", progress=False)


def test_counts_have_the_posterior_of_integrals_over_a_grid():
    """Poisson counts in groups: effects by Gauss and Hermite's nodes, both parameters on a grid."""
    random = np.random.default_rng(8)
    groups, each = 12, 6
    count = random.poisson(np.exp(0.4 + 0.7 * random.normal(size=groups))[:, None], (groups, each))
    data = {"count": count.ravel(), "g": np.repeat(list("abcdefghijkl"), each)}
    fit = lf.fit(
        "count ~ 1 + (1 | g)",
        data,
        "poisson",
        priors={"sd(g)": "half_student(3, 0, 1)"},
        method="nuts",
        num_draws=1000,
        num_warmup=300,
        seed=4,
        progress=False,
    )
    beta, sd = np.linspace(-1.2, 2.0, 161), np.linspace(0.0, 4.0, 202)[1:]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    eta = beta[:, None, None] + sd[None, :, None] * nodes
    log_density = -2.0 * np.log1p(sd**2 / 3.0) + np.zeros((len(beta), 1))
    for total in count.sum(axis=1):
        rows = total * eta - each * np.exp(eta)
        top = rows.max(axis=2, keepdims=True)
        log_density += np.log((np.exp(rows - top) * weights).sum(axis=2)) + top[:, :, 0]
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    table = fit.tidy()
    for (_, row), values, chance in zip(
        table.iterrows(), (beta, sd), (density.sum(axis=1), density.sum(axis=0)), strict=True
    ):
        mean = (values * chance).sum()
        spread = np.sqrt(((values - mean) ** 2 * chance).sum())
        assert abs(row["estimate"] - mean) < RARE * row["mc_error"]
        error = spread * np.sqrt(2.0 / min(row["ess_tail"], row["ess_bulk"]))
        assert abs(row["std_error"] - spread) < RARE * error
    assert fit.converged
