"""Covariances that differ by the levels of a factor, gr(g, by = a): as columns, as a structure, and in fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.covariance.direct_sum import DirectSum
from lmeformula.covariance.table import STRUCTURES
from tests.simulate import differences

QUIET = {"progress": False}


def growth() -> pd.DataFrame:
    data = lf.datasets.load("Orthodont")
    data = data.assign(visit=data["age"].map("{:02.0f}".format), far=data["distance"] > 24)
    return data[(np.arange(len(data)) + 1) % 7 != 3]


@pytest.mark.parametrize("kind", ["us", "cs", "toep", "ar1"])
def test_blocks_have_their_own_parameters_and_derivatives(kind):
    structure, k = DirectSum(STRUCTURES[(kind, False)], 2), 6
    rng = np.random.default_rng(3)
    theta = rng.uniform(-0.5, 0.5, structure.num_params(k))
    factor = structure.cholesky(theta, k)
    assert not factor[3:, :3].any()
    np.testing.assert_allclose(structure.to_free(factor @ factor.T), theta, rtol=1e-9)
    close = {"rtol": 1e-6, "atol": 1e-7}
    by = differences(lambda at: structure.cholesky(at, k), theta)
    np.testing.assert_allclose(structure.cholesky_jacobian(theta, k), by, **close)
    by = differences(lambda at: structure.to_report(at, k), theta).T
    np.testing.assert_allclose(structure.report_jacobian(theta, k), by, **close)
    names = structure.labels([f"t[{i}]:a[{a}]" for a in "uv" for i in range(3)])
    assert len(set(names)) == len(names) == len(theta)
    chart = structure.chart(np.ones(k))
    elements = chart.near(factor)
    np.testing.assert_allclose(chart.factor(elements), factor, atol=1e-12)
    by = differences(chart.factor, elements)
    np.testing.assert_allclose(chart.jacobian(elements), by, **close)
    sds = np.sqrt(np.diag(factor @ factor.T))
    start, bijector = structure.tfp_correlation(factor @ factor.T / np.outer(sds, sds), "float64")
    value = bijector.forward(bijector.inverse(tf.constant(start)))
    in_tfp = np.abs(sds[:, None] * structure.tfp_factor(value, k).numpy())
    np.testing.assert_allclose(in_tfp, np.abs(factor), atol=1e-10)


@pytest.mark.parametrize("reml", [False, True])
def test_a_model_that_shares_nothing_is_one_of_each_level(reml):
    whole = {"mu": "distance ~ visit * Sex + us(0 + visit | gr(Subject, by = Sex))", "sigma": "~ 0"}
    found = lf.fit(whole, growth(), reml=reml, **QUIET)
    each = [
        lf.fit(
            {"mu": "distance ~ visit + us(0 + visit | Subject)", "sigma": "~ 0"}, rows, reml=reml
        )
        for _, rows in growth().groupby("Sex", observed=True)
    ]
    assert found.converged
    assert found.loglik.df == sum(one.loglik.df for one in each)
    # Fixed effects in other coding: of the restricted likelihood, by a determinant of one.
    total = sum(float(one.loglik) for one in each)
    assert float(found.loglik) == pytest.approx(total, abs=1e-7)
    covariance = found.params.covariances[0]
    for place, one in enumerate(each):
        block = covariance[4 * place : 4 * place + 4, 4 * place : 4 * place + 4]
        np.testing.assert_allclose(block, one.params.covariances[0], rtol=1e-4, atol=1e-4)
    assert not covariance[:4, 4:].any()
    effects = found.ranef()
    assert len(effects) == 4 * growth()["Subject"].nunique()
    assert (effects["level"].str.startswith("M") == effects["term"].str.contains("Male")).all()


def test_intercepts_are_those_of_two_terms():
    by = lf.fit("distance ~ age * Sex + (1 | gr(Subject, by = Sex))", growth(), **QUIET)
    data = growth().assign(m=growth()["Sex"] == "Male", f=growth()["Sex"] == "Female")
    data[["m", "f"]] = data[["m", "f"]].astype(float)
    two = lf.fit("distance ~ age * Sex + (0 + m | Subject) + (0 + f | Subject)", data, **QUIET)
    assert float(by.loglik) == pytest.approx(float(two.loglik), abs=1e-8)
    assert by.param_names[4:6] == ("sd(Subject:Sex[Male])", "sd(Subject:Sex[Female])")


def test_saved_rebuilt_and_by_laplace(tmp_path):
    text = "far ~ age + cs(0 + visit | gr(Subject, by = Sex))"
    data = growth().assign(age=growth()["age"] - 11.0)
    model = lf.compile(lf.design(text, data), "bernoulli")
    joint = model.joint
    assert np.isfinite(joint.log_prob(joint.sample(seed=1)))
    found = lf.fit(
        {"mu": "distance ~ visit * Sex + cs(0 + visit | gr(Subject, by = Sex))", "sigma": "~ 0"},
        data,
        **QUIET,
    )
    again = lf.load(found.save(tmp_path / "by.fit"))
    new = pd.DataFrame(
        {"Subject": ["M01", "F01"], "Sex": ["Male", "Female"], "visit": ["08", "14"]}
    )
    np.testing.assert_allclose(again.predict(new), found.predict(new), rtol=1e-12)
    with pytest.raises(lf.FormulaDataError, match="F01 had another covariance"):
        again.predict(new.assign(Sex="Male"))
    with pytest.raises(
        lf.FormulaDataError, match="'Sex' has levels that the data of the fit did not"
    ):
        again.predict(new.assign(Sex="other"))
    with pytest.raises(lf.ModelError, match="Monte Carlo EM does not fit"):
        lf.estimate(model, method="mcem", progress=False)


@pytest.mark.parametrize(
    ("formula", "says"),
    [
        (
            "distance ~ age + cs(0 + visit | gr(Subject, by = odd))",
            "has rows of several levels of 'odd'",
        ),
        (
            "distance ~ age + ar1(0 + visit | gr(Subject, by = Sex))",
            "with one variance is the same",
        ),
        (
            'distance ~ age + (1 | gr(Subject, by = Sex, dist = "student"))',
            "another package's syntax",
        ),
    ],
)
def test_refused(formula, says):
    data = growth().assign(odd=np.arange(len(growth())) % 2)
    with pytest.raises(lf.LmeFormulaError, match=says):
        lf.fit(formula, data, **QUIET)


def test_correlations_that_hang_on_several_parameters_have_no_profile():
    data = growth()
    found = lf.fit(
        {"mu": "distance ~ age + toep(0 + visit | Subject)", "sigma": "~ 0"}, data, **QUIET
    )
    with pytest.raises(lf.ModelError, match="hangs on several parameters"):
        found.confint("profile", parm="cor(Subject:lag 2)")
