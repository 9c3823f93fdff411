"""Effects by Student's t distribution: against quadrature over the t density, at the Gaussian end, after."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import expit, gammaln, logsumexp

import lmeformula as lf
from lmeformula.checking.leave_one_out import leave_one_out
from lmeformula.covariance.structure import names_of
from lmeformula.covariance.student import Student
from lmeformula.sampling import student_prior as heavy
from lmeformula.sampling.student_problem import StudentModel
from tests.estimation.quadrature import Truth, climb

GROUPS, ROWS, TRIALS = 60, 6, 10
FREEDOM, SCALE, SIGMA = 3.0, 0.8, 0.7
HEAVY = '(1 | gr(g, dist = "student"))'
RESPONSES = {"gaussian": "y", "binomial": "cbind(k, f)"}
# u = sinh(t): even steps in t reach far into the tails of a t distribution.
NODES = np.linspace(-7.0, 7.0, 1001)
EFFECTS, LOG_WEIGHTS = np.sinh(NODES), np.log(np.cosh(NODES) * (NODES[1] - NODES[0]))


@cache
def data(freedom: float = FREEDOM) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    g, x = np.repeat(np.arange(GROUPS), ROWS), rng.normal(size=GROUPS * ROWS)
    if np.isfinite(freedom):
        u = rng.standard_t(freedom, GROUPS)
    else:
        # Lighter tails than normal effects have: a sample of those may look heavy by chance.
        u = rng.permutation(np.linspace(-1.7, 1.7, GROUPS))
    eta = 0.4 + 0.6 * x + SCALE * u[g]
    # Half as far out, where chances still tell how far: of a level without failures nobody knows.
    k = rng.binomial(TRIALS, expit(eta - 0.5 * SCALE * u[g]))
    return {"g": g, "x": x, "y": eta + SIGMA * rng.normal(size=len(g)), "k": k, "f": TRIALS - k}


@cache
def fitted(family: str, freedom: float = FREEDOM) -> lf.Fit:
    return lf.fit(
        f"{RESPONSES[family]} ~ x + {HEAVY}",
        data(freedom),
        family,
        method="mcem",
        seed=1,
        progress=False,
    )


def loglik(family: str, values: np.ndarray) -> float:
    """By the trapezoidal rule, whose error with these nodes is below 1e-9 a group."""
    table = data()
    eta = (values[0] + values[1] * table["x"])[:, None] + values[2] * EFFECTS
    if family == "gaussian":
        apart = (table["y"][:, None] - eta) / values[4]
        rows = -0.5 * apart**2 - np.log(values[4]) - 0.5 * np.log(2 * np.pi)
    else:
        k = table["k"][:, None]
        ways = gammaln(TRIALS + 1) - gammaln(k + 1) - gammaln(TRIALS - k + 1)
        rows = ways + k * eta - TRIALS * np.logaddexp(0, eta)
    whole = rows.reshape(GROUPS, ROWS, -1).sum(axis=1) + stats.t(values[3]).logpdf(EFFECTS)
    return float(logsumexp(whole + LOG_WEIGHTS, axis=1).sum())


@cache
def truth(family: str) -> Truth:
    """Newton's method ends at the maximum whatever it starts from nearby."""
    return climb(lambda values: loglik(family, values), fitted(family).param_values, 2)


@pytest.mark.parametrize("family", ["gaussian", pytest.param("binomial", marks=pytest.mark.slow)])
def test_estimates_errors_and_likelihood_are_those_of_quadrature(family):
    fit, true = fitted(family), truth(family)
    assert fit.converged
    assert fit.param_names[:4] == ("Intercept", "x", "sd(g)", "df(g)")
    assert (fit.param_mc_error < 0.0101 * fit.param_stderr).all()
    rounding = 1e-3 * true.stderr
    assert (np.abs(fit.param_values - true.values) < 4.5 * fit.param_mc_error + rounding).all()
    assert abs(fit.loglik.value - true.loglik) < 4.5 * fit.loglik.mc_error
    within = 4.5 * fit.param_stderr_error + rounding
    assert (np.abs(fit.param_stderr - true.stderr) < within).all()


def test_heavier_tails_are_seen_by_the_likelihood():
    heavy_fit = fitted("gaussian")
    plain = lf.fit("y ~ x + (1 | g)", data(), method="exact")
    assert heavy_fit.loglik.df == plain.loglik.df + 1
    assert heavy_fit.loglik.value > plain.loglik.value + 5


def test_effects_without_tails_end_at_infinite_degrees_of_freedom():
    fit = fitted("gaussian", np.inf)
    plain = lf.fit("y ~ x + (1 | g)", data(np.inf), method="exact")
    assert fit.converged
    assert not fit.singular
    assert len(fit.iterations) < 12
    place = fit.param_names.index("df(g)")
    assert np.isinf(fit.param_values[place])
    assert np.isnan(fit.param_stderr[place])
    others = [i for i in range(len(fit.param_names)) if i != place]
    error = 4.5 * fit.param_mc_error[others] + 5e-3 * plain.param_stderr
    assert (np.abs(fit.param_values[others] - plain.param_values) < error).all()
    assert abs(fit.loglik.value - plain.loglik.value) < 4.5 * fit.loglik.mc_error + 5e-3
    assert np.isinf(fit.varcorr.to_frame()["df"][0])


@pytest.mark.parametrize("method", ["laplace", "exact"])
def test_other_methods_say_what_to_do(method):
    with pytest.raises(lf.ModelError, match=r'(?s)by Student\'s t.*Use method="mcem"'):
        lf.fit(f"y ~ x + {HEAVY}", data(), method=method)


def test_other_structures_are_refused_by_name():
    with pytest.raises(lf.ModelError, match="cannot have the covariance structure diag"):
        lf.compile(lf.design('y ~ x + diag(x | gr(g, dist = "student"))', data()))
    with pytest.raises(lf.ModelError, match="not fitted in float32"):
        lf.fit(f"y ~ x + {HEAVY}", data(), dtype="float32", method="mcem")


# ---- after the fit


def test_what_is_said_of_the_effects():
    fit = fitted("gaussian")
    frame = fit.varcorr.to_frame()
    assert frame["df"][0] == fit.params.freedom[0] == fit.param_values[3]
    assert "df" in str(fit.summary())
    tidy = fit.tidy().set_index("effect")
    assert tidy.loc["df", "estimate"] == fit.param_values[3]
    lower, upper = fit.confint().set_index("parameter").loc["df(g)", ["lower", "upper"]]
    assert 1 < lower < fit.param_values[3] < upper
    assert "StudentT(df, 0, " in str(fit.model.equation())
    assert "StudentT(df_g, 0, stddev_g), 60 levels" in str(fit.model.graph())
    assert r"\mathrm{t}_{\nu_{1}}" in fit.formula._repr_latex_()
    # Far effects are hardly shrunk, unlike those of a fit with Gaussian ones.
    far = int(np.abs(fit.modes[0][:, 0]).argmax())
    plain = lf.fit("y ~ x + (1 | g)", data(), method="exact")
    assert abs(fit.modes[0][far, 0]) > abs(plain.modes[0][far, 0])


def test_a_loaded_fit_is_the_same(tmp_path):
    fit = fitted("gaussian")
    again = lf.load(fit.save(tmp_path / "fit.zip"))
    assert str(again.summary()) == str(fit.summary())
    assert again.params.freedom == fit.params.freedom
    new = {"g": [3, 99], "x": [0.2, -1.0]}
    found, same = (
        each.simulate(2, newdata=new, new_levels="sample", seed=3) for each in (fit, again)
    )
    np.testing.assert_array_equal(found, same)


def test_simulated_effects_have_the_tails_of_the_fit():
    fit = fitted("gaussian")
    rows = {"g": np.arange(1000, 9000), "x": np.zeros(8000)}
    drawn = fit.simulate(1, newdata=rows, new_levels="sample", seed=4)["sim_1"].to_numpy()
    effects = (drawn - fit.fixef["Intercept"]) / fit.varcorr.terms[0].sd[0]
    # The convolution of t with the residual, by quadrature.
    noise = fit.sigma / fit.varcorr.terms[0].sd[0]
    ends = np.array([-8.0, -3.0, -1.0, 0.0, 0.5, 2.0, 6.0])
    weights = np.exp(stats.t(fit.params.freedom[0]).logpdf(EFFECTS) + LOG_WEIGHTS)
    chances = (weights * stats.norm.cdf((ends[:, None] - EFFECTS) / noise)).sum(axis=1)
    seen = (effects[:, None] <= ends).mean(axis=0)
    error = np.sqrt(chances * (1 - chances) / len(effects))
    assert (np.abs(seen - chances) < 4 * error).all()


def test_statistics_of_gaussian_effects_are_refused():
    fit = fitted("gaussian")
    assert np.isfinite(fit.predict(interval="confidence")).all().all()
    with pytest.raises(
        lf.ModelError, match="errors of rows left out, take random effects for Gaussian"
    ):
        leave_one_out(fit)
    assert np.isfinite(fit.residuals("quantile")).all()
    assert np.isfinite(fit.ranef()["value"]).all()
    with pytest.raises(lf.ModelError, match="degrees of freedom by satterthwaite take random"):
        fit.tidy(ddf="satterthwaite")
    assert "df       g 2" in repr(fit)
    assert fit.check() is not None
    assert fit.refit(fit.model.design.y, seed=2).converged


# ---- parts


@pytest.mark.parametrize("df", [1.0 + 1e-6, 2.5, 40.0, 1e4])
@pytest.mark.parametrize("k", [1, 3])
def test_the_prior_is_that_of_scipy(df, k):
    u = np.array([[0.0] * k, [0.3] * k, [-7.0] * k])
    expected = stats.multivariate_t(np.zeros(k), np.eye(k), df).logpdf(u) + 0.5 * k * np.log(
        2 * np.pi
    )
    found = heavy.log_prior(
        tf.constant((u**2).sum(axis=1)), tf.constant(np.log(df - 1.0), tf.float64), k
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_the_structure_goes_there_and_back():
    structure, theta = Student(), np.array([0.2, -0.4, 0.7, 1.1])
    values = structure.to_report(theta, 2)
    assert names_of(structure.labels(("Intercept", "x")), "g", "ab")[-1] == "df(g)"
    h = 1e-6
    columns = [
        (structure.to_report(theta + h * e, 2) - structure.to_report(theta - h * e, 2)) / (2 * h)
        for e in np.eye(4)
    ]
    np.testing.assert_allclose(structure.report_jacobian(theta, 2), np.array(columns).T, atol=1e-8)
    assert values[-1] == 1 + np.exp(1.1)
    assert (structure.cholesky_jacobian(theta, 2)[-1] == 0).all()


def test_gradients_and_scores_are_derivatives():
    """At fixed b the score is the derivative in psi; in z the gradient is that of the density."""
    formula = 'y ~ x + (x | gr(g, dist = "student")) + (1 | h)'
    table = {**data(), "h": np.arange(GROUPS * ROWS) % 7}
    model = lf.compile(lf.design(formula, table))
    of = StudentModel(model)
    space = model.space
    psi = space.to_free(model.start)
    problem = _problem(of, psi)
    white, rows = problem.geometry(psi).arrays, problem.data
    rng = np.random.default_rng(1)
    z = tf.constant(rng.normal(size=(of.plan.num_effects, 2)))
    value, slope = problem.density(psi, z, white, rows)
    with tf.GradientTape() as tape:
        tape.watch(z)
        again = problem.density(psi, z, white, rows)[0]
    np.testing.assert_allclose(slope, tape.gradient(again, z), rtol=1e-8, atol=1e-9)

    # log p(y, b; psi) at the effects b of z, by hand.
    b = np.asarray(problem.to_latents(z, white, rows))
    order = (of.plan.lead, *of.plan.rest)

    def log_joint(at: np.ndarray, column: int) -> float:
        params = space.to_natural(at)
        parts, start = {}, 0
        for j in order:
            levels, k = of.plan.sizes[j]
            parts[j] = b[start : start + levels * k, column].reshape(levels, k)
            start += levels * k
        eta = model.design.X @ params.beta
        total = 0.0
        for j, term in enumerate(model.design.terms):
            eta = eta + (term.values * parts[j][term.index]).sum(axis=1)
            covariance, df = params.covariances[j], params.freedom[j]
            mean = np.zeros(len(covariance))
            rule = (
                stats.multivariate_normal(mean, covariance)
                if np.isinf(df)
                else stats.multivariate_t(mean, covariance, df)
            )
            total += rule.logpdf(parts[j]).sum()
        return total + stats.norm(eta, params.residual_sd).logpdf(model.design.y).sum()

    scores = problem.score(psi, z, slope, white, rows)
    h = 1e-6
    for column in range(2):
        expected = [
            (log_joint(psi + h * e, column) - log_joint(psi - h * e, column)) / (2 * h)
            for e in np.eye(space.size)
        ]
        np.testing.assert_allclose(scores.raw[:, column], expected, rtol=1e-5, atol=1e-5)
    # Values differ by what does not depend on z: the whitening's determinant and constants.
    apart = [log_joint(psi, c) - float(value[c]) for c in range(2)]
    assert apart[0] == pytest.approx(apart[1], abs=1e-8)


def _problem(of: StudentModel, psi: np.ndarray):
    from lmeformula.sampling.student_problem import student_problem

    return student_problem(of, psi)


def test_the_stand_in_is_exact_for_gaussian_effects():
    model = lf.compile(lf.design(f"y ~ x + {HEAVY}", data()))
    plain = lf.fit("y ~ x + (1 | g)", data(), method="exact")
    psi = model.space.to_free(plain.params._replace(freedom=(1e9,)))
    assert StudentModel(model).log_likelihood(psi) == pytest.approx(plain.loglik.value, abs=1e-5)
    assert np.linalg.eigvalsh(StudentModel(model).second(psi)[:3, :3]).min() > 0


def test_the_joint_distribution_has_a_t_part():
    model = lf.compile(lf.design(f"y ~ x + {HEAVY}", data()))
    names = list(model.tfp_joint.variables)
    assert names == ["intercept", "effect_x", "stddev_g", "df_g", "sigma"]
    b = np.linspace(-2.0, 3.0, GROUPS)
    part = model.joint.log_prob_parts(g=tf.constant(b), y=tf.constant(data()["y"]))["g"]
    df, scale = model.tfp_joint.variables["df_g"], model.tfp_joint.variables["stddev_g"]
    df, scale = (float(tf.convert_to_tensor(variable)) for variable in (df, scale))
    expected = stats.t(df, scale=scale).logpdf(b).sum()
    assert float(part) == pytest.approx(expected, rel=1e-10)
