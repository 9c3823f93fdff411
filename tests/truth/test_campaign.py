"""The campaign sees what is wrong, makes it small, and goes on where it stopped."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

import lmeformula as lf

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from truth import judge as judged
from truth.generate import case
from truth.judge import HELD, judge
from truth.report import table
from truth.runner import main
from truth.shrink import shrink, written

SEED = 7


def made(name: str):
    method, seed, index = name.split(":")
    return case(method, int(seed), int(index))


# ---- a judge that has never found anything is not trusted -----------------------------------------


def failing(name: str, monkeypatch, spoil) -> set[str]:
    """The properties that fail once each fit is spoiled, all of them tried."""
    method = name.split(":")[0]
    monkeypatch.setitem(HELD, method, tuple((hold, 1.0) for hold, _ in HELD[method][:5]))
    right = judged.fitted
    monkeypatch.setattr(judged, "fitted", lambda data, spec: spoil(right(data, spec)))
    return {finding.name for finding in judge(made(name)).failures}


def plain() -> str:
    """A case with one variance, inside its bounds."""
    for index in range(50):
        name = f"gaussian:{SEED}:{index}"
        spec = made(name).spec
        if not spec.reml and len(spec.terms) == 1 and not spec.terms[0].columns:
            fit = judged.fitted(made(name).data, spec)
            if fit.converged and not fit.singular and np.isfinite(fit.param_stderr).all():
                return name
    raise AssertionError("no such case")


def test_a_right_fit_passes(monkeypatch):
    assert failing(plain(), monkeypatch, lambda fit: fit) == set()


def test_a_wrong_likelihood_is_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        return replace(fit, loglik=fit.loglik._replace(value=fit.loglik.value + 1e-3))

    assert "log-likelihood" in failing(plain(), monkeypatch, spoil)


def test_wrong_standard_errors_are_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        return replace(fit, param_stderr=fit.param_stderr * 1.02)

    assert "standard errors" in failing(plain(), monkeypatch, spoil)


def test_missing_standard_errors_are_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        stderr = fit.param_stderr.copy()
        stderr[-1] = 0.0
        return replace(fit, param_stderr=stderr)

    assert "errors exist" in failing(plain(), monkeypatch, spoil)


def test_a_fit_that_stops_short_is_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        values, sigma = fit.param_values.copy(), 1.2 * fit.params.residual_sd
        values[-1] = sigma
        params = fit.params._replace(own=np.array([sigma]))
        return replace(fit, param_values=values, params=params)

    assert "stationary" in failing(plain(), monkeypatch, spoil)


def integrated() -> str:
    """A case by quadrature with effects of one factor, inside its bounds."""
    for index in range(50):
        name = f"quadrature:{SEED}:{index}"
        one = made(name)
        terms = one.spec.random
        is_small = len(one.data) <= 40 and len(terms) == 1 and not terms[0].columns
        if is_small and one.spec.family in ("poisson", "binomial", "gamma"):
            fit = judged.fitted(one.data, one.spec)
            if fit.converged and not fit.singular and np.isfinite(fit.param_stderr).all():
                return name
    raise AssertionError("no such case")


def test_a_right_integral_passes(monkeypatch):
    assert failing(integrated(), monkeypatch, lambda fit: fit) == set()


def test_a_wrong_integral_is_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        return replace(fit, loglik=fit.loglik._replace(value=fit.loglik.value + 1e-3))

    assert failing(integrated(), monkeypatch, spoil) == {"log-likelihood"}


def test_wrong_means_and_sds_of_effects_are_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        errors = [np.sqrt(covariance[:, 0, 0]) for covariance in fit.mode_cov]
        moved = [mean + 1e-3 * sd[:, None] for mean, sd in zip(fit.modes, errors, strict=True)]
        wider = [1.001 * covariance for covariance in fit.mode_cov]
        return replace(fit, modes=tuple(moved), mode_cov=tuple(wider))

    found = failing(integrated(), monkeypatch, spoil)
    assert {"means of effects", "sds of effects"} <= found


def test_what_is_foreign_is_seen(monkeypatch):
    def spoil(fit: lf.Fit) -> lf.Fit:
        raise np.linalg.LinAlgError("singular")

    assert failing(plain(), monkeypatch, spoil) == {"nothing foreign escapes"}


def test_failures_are_made_small(monkeypatch):
    right = judged.fitted

    def spoiled(data, spec):
        fit = right(data, spec)
        return replace(fit, loglik=fit.loglik._replace(value=fit.loglik.value + 1.0))

    monkeypatch.setattr(judged, "fitted", spoiled)
    start = made(plain())
    small = shrink(start, "log-likelihood", seconds=10.0)
    assert len(small.data) < len(start.data) / 2
    assert small.spec.fixed == ()
    space: dict[str, object] = {}
    # What is printed is a program that makes the same rows.
    exec(written(small).rsplit("fit = ", 1)[0], space)
    np.testing.assert_array_equal(space["data"]["y"], small.data["y"])


def test_cases_are_the_same_again():
    for name in ("gaussian:1:3", "laplace:1:3", "mcem:1:3", "quadrature:1:3"):
        one, other = made(name), made(name)
        assert one.spec == other.spec
        assert one.data.equals(other.data)


def test_a_run_goes_on_where_it_was(tmp_path, capsys):
    out = tmp_path / "cases.jsonl"
    options = ["--seed", str(SEED), "--out", str(out), "--shrink", "0"]
    main(["--cases", "gaussian=2", *options])
    first = out.read_text().splitlines()
    with out.open("a") as file:
        file.write('{"case": "gaussian:')  # killed in the middle of a line
        file.write("\n")
    main(["--cases", "gaussian=3", *options])
    lines = out.read_text().splitlines()
    assert lines[:2] == first
    assert len(lines) == 4
    shown = capsys.readouterr().out
    assert "| gaussian | 3 |" in shown
    main(["--case", f"gaussian:{SEED}:0", "--shrink", "0"])
    assert "holds  nothing foreign escapes" in capsys.readouterr().out


def test_the_table():
    record = {
        "case": "gaussian:1:0",
        "outcome": "CONVERGED",
        "words": "",
        "findings": [("span", 0.0), ("log-likelihood", None), ("recoded: a, means", 0.5)],
        "failures": [("log-likelihood", "off")],
    }
    text = table([json.loads(json.dumps(record))])
    assert "| span | gaussian | 1 | 0 | 0 |" in text
    assert "| log-likelihood | gaussian | 1 | 1 | above |" in text
    assert "| recoded: a | gaussian | 1 | 0 | 0.5 |" in text
    assert "| gaussian | 1 | 1 | CONVERGED 1 |" in text
