"""Rows that stay with the workers of a cluster: the answers of one process, and what is said where that fails.

One process, by the same solver and with the same probes, is the reference: its answers are held to the exact
ones in tests/likelihood/gaussian.
"""

from __future__ import annotations

from collections.abc import Iterator

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

import lmeformula as lf
from lmeformula.design.spread import spread
from lmeformula.rows.parts import Part
from tests.rows.cluster import cluster_of

FORMULA = "y ~ x * a + (1 + x | g) + (1 | h)"


def table(n: int = 900, seed: int = 0) -> pd.DataFrame:
    """Rows of two crossed factors, a categorical column, missing values, and weights."""
    random = np.random.default_rng(seed)
    g, h = random.integers(0, 60, n), random.integers(0, 12, n)
    x = random.normal(size=n)
    x_slope = 0.5 + 0.5 * random.normal(size=60)[g]
    y = 1.0 + x_slope * x + 0.7 * random.normal(size=60)[g] + 0.5 * random.normal(size=12)[h]
    found = pd.DataFrame({"y": y + random.normal(size=n), "x": x, "g": g, "h": h})
    found["a"] = pd.Categorical(random.choice(["u", "v", "w"], n), ["w", "u", "v"])
    found["text"] = np.where(random.random(n) < 0.5, "no", "yes")
    found["w"] = 1.0 + random.random(n)
    found.loc[::37, "x"] = np.nan
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster_of(2) as found:
        yield found


def assert_same(found: lf.Fit, expected: lf.Fit, rounding: float = 1e-8) -> None:
    """To the last digits that the order of sums leaves."""
    assert found.converged == expected.converged
    assert abs(float(found.loglik) - float(expected.loglik)) < rounding
    np.testing.assert_allclose(found.param_stderr, expected.param_stderr, atol=1e-6)
    np.testing.assert_allclose(found.param_values, expected.param_values, atol=1e-6)
    np.testing.assert_allclose(found.param_vcov, expected.param_vcov, atol=1e-6)
    for mine, theirs in zip(found.modes, expected.modes, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    for mine, theirs in zip(found.mode_cov, expected.mode_cov, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_any_number_of_shards_gives_the_answer_of_one_process(client):
    data = table()
    designed = lf.design(FORMULA, data, weights="w")
    expected = lf.estimate(lf.compile(designed), solver="iterative")
    for count in (1, 3, 8):
        shards = spread(designed, client, count)
        assert shards.shards is not None
        assert len(shards.shards.parts) == count
        assert_same(lf.estimate(lf.compile(shards)), expected)


def test_a_dask_frame_gives_the_answer_of_its_rows(client):
    data = table()
    expected = lf.fit(FORMULA, data, weights="w", solver="iterative")
    found = lf.fit(FORMULA, dd.from_pandas(data, npartitions=3), weights="w")
    assert_same(found, expected)
    assert found.solver == "iterative"
    assert found.nobs == expected.nobs
    assert found.model.design.num_missing == expected.model.design.num_missing
    new = data.head(5)
    np.testing.assert_allclose(found.predict(new), expected.predict(new), atol=1e-6)
    assert "900 of a Dask data frame, with 2 workers" in str(found.diagnostics)
    with pytest.raises(lf.ModelError, match="with the workers of a cluster"):
        found.residuals()


def test_a_client_has_the_rows_of_any_table(client):
    data = table()
    found = lf.fit("y ~ scale(x) + (1 | g) + (1 | h)", data, cluster=client, reml=True)
    expected = lf.fit("y ~ scale(x) + (1 | g) + (1 | h)", data, solver="iterative", reml=True)
    assert_same(found, expected)
    # The rows are here as well.
    np.testing.assert_allclose(found.residuals(), expected.residuals(), atol=1e-6)


def test_frequencies_and_a_nearly_perfect_fit_are_those_of_one_process(client):
    data = table()
    data["y"] = data["y"].round(1) + 1e5 * data["w"]
    formula = "y ~ w + (1 | g) + (1 | h)"
    data["times"] = np.arange(len(data)) % 3
    one = lf.fit(formula, data, frequency="times", solver="iterative")
    assert_same(lf.fit(formula, data, frequency="times", cluster=client), one)
    noise = np.random.default_rng(1).normal(size=len(data))
    exact = data.assign(y=data["g"] % 7 + np.sqrt(data["h"]) + 1e-4 * noise)
    one = lf.fit(formula, exact, solver="iterative")
    # Of its residuals eight digits are left, which each row counts with.
    assert_same(lf.fit(formula, exact, cluster=client), one, 1e-8 * len(data))


def test_one_grouping_factor_and_no_fixed_effects(client):
    data = table()
    for formula in ("y ~ 1 + (1 | g)", "y ~ 0 + (1 | g) + (0 + x | g)", "y ~ 1 + (1 | g/h)"):
        one = lf.fit(formula, data, solver="iterative")
        found = lf.fit(formula, dd.from_pandas(data, npartitions=2))
        assert_same(found, one)


def frames() -> dict[str, tuple[str, dd.DataFrame]]:
    """Formulas and frames whose parts differ from one another."""
    data = table()
    sorted_by = data.sort_values("a").reset_index(drop=True)
    rare = data.assign(b=np.where(np.arange(len(data)) < 890, "most", "last"))
    return {
        "levels that one partition has": (
            "y ~ a + (1 | g)",
            dd.from_pandas(sorted_by, npartitions=3),
        ),
        "a level in the last rows": ("y ~ b + (1 | g)", dd.from_pandas(rare, npartitions=4)),
        "text": ("y ~ text * x + (1 | h:text) + (1 | g)", dd.from_pandas(data, npartitions=2)),
        "factors of numbers": ("y ~ factor(h) + (1 | g)", dd.from_pandas(data, npartitions=5)),
        "a column that others determine": (
            "y ~ x + I(2 * x) + a + (1 | g)",
            dd.from_pandas(data, npartitions=3),
        ),
        "an empty partition": (
            "y ~ x + (1 | g)",
            dd.from_pandas(data, npartitions=3).query("w > 1.01 and index > 250"),
        ),
        "offsets": ("y ~ x + offset(w) + (1 | g)", dd.from_pandas(data, npartitions=2)),
    }


@pytest.mark.parametrize("name", frames())
@pytest.mark.filterwarnings("ignore:the fixed-effects matrix has rank")
def test_what_a_design_learns_is_that_of_all_rows(client, name):
    formula, frame = frames()[name]
    here = lf.design(formula, frame, cluster=False)
    found = lf.design(formula, frame)
    assert (found.names, found.dropped) == (here.names, here.dropped)
    assert (found.n, found.num_missing) == (here.n, here.num_missing)
    for mine, theirs in zip(found.terms, here.terms, strict=True):
        assert mine.levels == theirs.levels
    assert found.recipe is not None
    assert here.recipe is not None
    mine, theirs = found.recipe.observed, here.recipe.observed
    assert mine is not None
    assert theirs is not None
    for one, other in zip(mine.columns, theirs.columns, strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_allclose(one[2:], other[2:], rtol=1e-12)
    np.testing.assert_array_equal(mine.cells, theirs.cells)
    np.testing.assert_array_equal(mine.counts, theirs.counts)
    assert mine.offset == pytest.approx(theirs.offset)
    # The rows themselves, in whatever order.
    assert found.shards is not None
    rows = np.concatenate(found.shards.parts.ask(_all_numbers))
    np.testing.assert_allclose(_ordered(rows), _ordered(_all_numbers(Part(here))), atol=1e-12)


def _all_numbers(part: Part) -> np.ndarray:
    design = part.rows
    return np.column_stack([design.y, design.offset, design.X, *(t.values for t in design.terms)])


def _ordered(rows: np.ndarray) -> np.ndarray:
    return rows[np.lexsort(rows.round(9).T)]


@pytest.mark.parametrize(
    ("formula", "given", "words"),
    [
        ("y ~ scale(x) + (1 | g)", {}, r"scale\(\) learns from all rows"),
        ("y ~ lag(x) + (1 | g)", {}, r"lag\(\) learns from all rows"),
        ("y ~ x + (1 | g)", {"weights": np.ones(900)}, "the weights are an array"),
        ("y ~ x + (1 | g)", {"frequency": "h"}, "frequencies are not known"),
        ("y ~ f(x) + (1 | g)", {"functions": {"f": np.exp}}, "functions of your own"),
        ("y ~ x + (1 | g)", {"solver": "direct"}, "the direct solver"),
        ("y ~ x + (1 | g)", {"method": "mcem"}, "needs all rows at each of them"),
        (
            "h ~ x + (1 | g)",
            {"family": "poisson", "method": "mcem"},
            "needs all rows at each of them",
        ),
        (
            "h ~ x + (1 | g)",
            {"family": "poisson", "method": "quadrature"},
            "quadrature is not fitted over the workers",
        ),
        ({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}, {}, "several parameters"),
        ("a ~ x + (1 | g)", {"family": "categorical"}, "a predictor for each category"),
        ("y ~ x + (1 | g)", {"cluster": "here"}, "must be a dask.distributed Client"),
        ("y ~ nothing + (1 | g)", {}, "'nothing', which is not a column"),
        ("w ~ x + (1 | one)", {}, "has only one level"),
        ("one ~ x + (1 | g)", {}, "is constant"),
        ("y ~ x", {}, "no random-effects term"),
        ("y ~ x + (1 | g)", {"sigma": 0.0}, "models without a residual"),
        ('y ~ x + (1 | gr(g, dist = "student"))', {}, "effects by Student's t"),
        ("y ~ x + (1 | g)", {"checkpoint": "somewhere"}, "a checkpoint is known by the rows"),
        ("y ~ x + (1 | g)", {"merge": True}, "are not merged"),
    ],
)
def test_what_is_not_worked_out_there_is_refused_in_words(
    client, formula, given, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    frame = dd.from_pandas(table().assign(one=1), npartitions=2)
    with pytest.raises(lf.LmeFormulaError, match=words):
        lf.fit(formula, frame, **given)


def test_errors_of_the_work_itself_are_raised_here(client):
    shards = spread(lf.design(FORMULA, table()), client).shards
    assert shards is not None
    with pytest.raises(ZeroDivisionError):
        shards.parts.ask(_divided, 0)
    assert shards.parts.ask(_divided, 2) == [0.5, 0.5]


def _divided(part: Part, by: int) -> float:
    return 1 / by
