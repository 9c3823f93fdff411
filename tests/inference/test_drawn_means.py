"""Marginal means, R2 and ICC of draws from a posterior distribution, against the draws worked out by hand.

Draws are made here: normal about the maximum, of which the truth is known.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.drawn import Draws, Effort, Mixing, Stats
from lmeformula.inference.r2 import variances
from tests.drawn import SCHOOLS, few_schools

# Draws, as many as means are taken over.
M = 2000


def drawn_about(fit: lf.Fit) -> lf.Fit:
    """The fit with draws of its parameters from the normal distribution of their estimates."""
    space, random = fit.model.space, np.random.default_rng(7)
    centre = space.to_free(fit.params)
    inverse = np.linalg.inv(space.report_jacobian(centre))
    root = np.linalg.cholesky(inverse @ fit.param_vcov @ inverse.T)
    psi = (centre + random.normal(size=(M, len(centre))) @ root.T).reshape(4, M // 4, -1)
    values = np.apply_along_axis(space.to_report, 2, psi)
    nothing, unknown = np.zeros((4, M // 4)), np.full(len(centre), np.nan)
    stats = Stats(*(nothing for _ in Stats._fields))
    draws = Draws(
        psi=psi,
        values=values,
        effects=tuple(np.broadcast_to(each, (4, M // 4, *each.shape)) for each in fit.modes),
        stats=stats,
        warmup_values=values[:, :0],
        warmup_stats=Stats(*(nothing[:, :0] for _ in Stats._fields)),
        mixing=Mixing(unknown, unknown, unknown, unknown),
        effects_mixing=np.full(2, np.nan),
        bfmi=np.full(4, np.nan),
        effort=Effort(),
    )
    return replace(fit, draws=draws, method="nuts")


@functools.cache
def machines() -> tuple[lf.Fit, lf.Fit]:
    fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"), reml=True)
    return fit, drawn_about(fit)


@functools.cache
def counts() -> tuple[lf.Fit, lf.Fit]:
    random = np.random.default_rng(3)
    table = pd.DataFrame({"a": np.tile(["u", "v", "w"], 80), "g": np.repeat(np.arange(24), 10)})
    table["x"] = random.normal(size=240)
    effects = random.normal(size=24, scale=0.4)[table["g"]]
    table["y"] = random.poisson(
        np.exp(0.5 + 0.4 * (table["a"] == "v") + 0.3 * table["x"] + effects)
    )
    fit = lf.fit("y ~ a + x + (1 | g)", table, "poisson", method="laplace")
    return fit, drawn_about(fit)


def by_hand(fit: lf.Fit, rows: np.ndarray) -> np.ndarray:
    """(m, r) linear combinations of the coefficients at each draw."""
    values = fit.draws.values.reshape(M, -1)
    return values[:, : rows.shape[1]] @ rows.T


def test_means_are_those_of_the_normal_distribution_that_was_drawn_from():
    fit, drawn = machines()
    truth, found = fit.emmeans("Machine", ddf="none"), drawn.emmeans("Machine")
    for one, other in ((truth, found), (truth.contrasts(adjust="none"), found.contrasts())):
        expected, frame = one.to_frame(), other.to_frame()
        error = expected["std_error"] / M**0.5
        assert (np.abs(frame["estimate"] - expected["estimate"]) < 5.0 * error).all()
        assert (np.abs(frame["median"] - expected["estimate"]) < 5.0 * 1.2533 * error).all()
        spread = np.abs(frame["std_error"] - expected["std_error"])
        assert (spread < 5.0 * error / 2.0**0.5).all()
        # The error of a quantile of 2.5 % is that of a chance over the density there.
        for end in ("conf_low", "conf_high"):
            assert (np.abs(frame[end] - expected[end]) < 5.0 * 2.67 * error).all()
        assert np.allclose(np.diag(other.vcov), frame["std_error"] ** 2)
        assert not {"df", "p_value", "statistic"} & set(frame)
    assert "posterior means" in str(found)


def test_what_is_shown_is_averaged_on_its_own_scale():
    _, drawn = counts()
    found = drawn.emmeans("a", kind="response")
    eta = by_hand(drawn, found.rows)
    frame = found.to_frame(0.9)
    assert frame["estimate"].to_numpy() == pytest.approx(np.exp(eta).mean(axis=0))
    ends = np.quantile(np.exp(eta), [0.05, 0.95], axis=0)
    assert frame[["conf_low", "conf_high"]].to_numpy() == pytest.approx(ends.T)
    ratios = found.contrasts().to_frame()
    expected = np.exp(eta[:, 0] - eta[:, 1])
    assert ratios["estimate"][0] == pytest.approx(expected.mean())
    assert ratios["std_error"][0] == pytest.approx(expected.std(ddof=1))
    slope = drawn.emmeans("~ 1", var="x").to_frame()
    values = drawn.draws.values.reshape(M, -1)[:, list(drawn.param_names).index("x")]
    assert slope["estimate"][0] == pytest.approx(values.mean())
    assert slope["std_error"][0] == pytest.approx(values.std(ddof=1))


def test_thresholds_move_with_the_draws():
    fit = lf.fit(
        "rating ~ temp + (1 | judge)", lf.datasets.load("wine"), "cumulative", method="laplace"
    )
    drawn = drawn_about(fit)
    values = drawn.draws.values.reshape(M, -1)
    frame = drawn.emmeans("temp").to_frame()
    expected = np.column_stack([0.0 * values[:, 0], values[:, 0]]) - values[:, -4:].mean(
        axis=1, keepdims=True
    )
    assert frame["estimate"].to_numpy() == pytest.approx(expected.mean(axis=0))
    assert frame["std_error"].to_numpy() == pytest.approx(expected.std(axis=0, ddof=1))
    # Mean categories are averages of chances.
    shift = np.column_stack([0.0 * values[:, 0], values[:, 0]])[:, None, :]
    chances = 1.0 / (1.0 + np.exp(-(values[:, -4:, None] - shift)))
    mean = 5.0 - chances.sum(axis=1)
    shown = drawn.emmeans("temp", kind="response").to_frame()
    assert shown["estimate"].to_numpy() == pytest.approx(mean.mean(axis=0))


def test_shares_of_the_variance_are_averaged():
    fit, drawn = machines()
    values = drawn.draws.values.reshape(M, -1)
    of_fixed = np.var(by_hand(drawn, fit.model.design.X), axis=1, ddof=1)
    worker, residual = values[:, -2] ** 2, values[:, -1] ** 2
    total = of_fixed + worker + residual
    found = drawn.r2()
    assert found == pytest.approx(((of_fixed / total).mean(), 1.0 - (residual / total).mean()))
    frame = found.to_frame()
    assert frame.loc["conditional", "conf_low"] == pytest.approx(
        np.quantile(1.0 - residual / total, 0.025)
    )
    icc = drawn.icc()
    share = worker / (worker + residual)
    assert icc["adjusted"].to_numpy() == pytest.approx([share.mean()] * 2)
    assert icc["adjusted_high"][0] == pytest.approx(np.quantile(share, 0.975))
    assert variances(drawn).residual == pytest.approx(residual.mean())


def test_rows_have_posterior_means_and_shares():
    fit = few_schools()
    draws = fit.draws
    theta = (draws.values[:, :, :1] + draws.effects[0][:, :, :, 0]).swapaxes(0, 1).reshape(-1, 8)
    found = fit.augment()
    assert found[".fitted"].to_numpy() == pytest.approx(theta.mean(axis=0))
    assert found[".resid"].to_numpy() == pytest.approx(SCHOOLS["y"] - theta.mean(axis=0))
    assert found[".hat"].to_numpy() == pytest.approx(theta.var(axis=0) * SCHOOLS["w"])
    new = fit.augment(newdata=pd.DataFrame({"school": ["B"], "w": [0.01]}))
    assert new[".fitted"][0] == pytest.approx(theta[:, 1].mean())


REFUSED = [
    lambda fit: fit.emmeans("Machine").test(),
    lambda fit: fit.emmeans("Machine").contrasts(adjust="tukey"),
    lambda fit: fit.emmeans("Machine", ddf="satterthwaite"),
]


@pytest.mark.parametrize("asked", REFUSED)
def test_there_are_no_tests(asked):
    with pytest.raises(lf.ModelError, match="draws"):
        asked(machines()[1])
