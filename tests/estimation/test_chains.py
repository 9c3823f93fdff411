"""Chains that walk with the workers of a cluster: the bits of one process, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from distributed import Client

import lmeformula as lf
from lmeformula.estimation import chains
from lmeformula.rows import workers
from tests.rows.cluster import cluster_of

FORMULA = "y ~ x + (1 | g) + (1 | h)"


def table(n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Counts and chances of two crossed factors."""
    random = np.random.default_rng(seed)
    g, h, x = random.integers(0, 16, n), random.integers(0, 6, n), random.normal(size=n)
    eta = 0.3 + 0.4 * x + 0.7 * random.normal(size=16)[g] + 0.4 * random.normal(size=6)[h]
    found = pd.DataFrame({"x": x, "g": g, "h": h, "counts": random.poisson(np.exp(eta))})
    found["y"] = (random.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    found["z"] = eta + random.normal(size=n)
    return found


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with cluster_of(2) as found:
        yield found


def assert_bits(found: lf.Fit, one: lf.Fit) -> None:
    """Everything that is worked out of the draws."""
    assert found.outcome is one.outcome
    np.testing.assert_array_equal(found.param_values, one.param_values)
    np.testing.assert_array_equal(found.param_mc_error, one.param_mc_error)
    np.testing.assert_array_equal(found.param_stderr, one.param_stderr)
    assert float(found.loglik) == float(one.loglik)
    for mine, theirs in zip(found.modes, one.modes, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(("response", "family"), [("z", "gaussian"), ("y", "bernoulli")])
def test_two_workers_give_the_bits_of_one_process(client, response, family, monkeypatch):
    data, walks = table(), []
    # Programs are compiled there, which on a busy machine takes long.
    monkeypatch.setattr(workers, "SILENT", 1e9)
    formula = FORMULA.replace("y", response)
    one = lf.fit(formula, data, family, method="mcem", seed=3)
    walk = chains._walk
    monkeypatch.setattr(chains, "_walk", lambda *given: walks.append(1) or walk(*given))
    method = "mcem" if family == "gaussian" else "auto"
    found = lf.fit(formula, data, family, method=method, cluster=client, seed=3)
    assert_bits(found, one)
    assert found.method == "mcem"
    assert len(walks) > 1
    assert "the chains walked with 2 workers of a cluster" in str(found.diagnostics)
    # The rows are here: all that comes after the fit is as ever.
    np.testing.assert_array_equal(found.residuals(), one.residuals())
    np.testing.assert_array_equal(found.predict(data.head()), one.predict(data.head()))


@pytest.mark.parametrize(
    ("change", "given", "words"),
    [
        ("dask", {}, "needs all rows at each of them"),
        ("", {"checkpoint": "somewhere"}, "a checkpoint is not kept of chains"),
        ("", {"formula": 'z ~ x + (1 | gr(g, dist = "student"))'}, "effects by Student's t"),
        ("memory", {}, "each worker takes about"),
    ],
)
def test_what_chains_do_not_do_is_refused_in_words(
    client, change, given, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(chains, "COPIES", 1e9 if change == "memory" else 1.0)
    data = dd.from_pandas(table(), npartitions=2) if change == "dask" else table()
    call = {"formula": FORMULA.replace("y", "z"), "method": "mcem", **given}
    with pytest.raises(lf.ModelError, match=words):
        lf.fit(call.pop("formula"), data, cluster=client, **call)
