"""SavedModels: that they predict as the fit does, without this package, and are there whole or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.model.params import Params
from lmeformula.prediction.predictor import mean_response
from lmeformula.serving.model import _scales

# What a program without this package does: load, call by names, print.
PROGRAM = """
import json, sys
import numpy as np
import tensorflow as tf
served = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
given = json.load(open(sys.argv[2]))
found = served(**{name: tf.constant(values) if isinstance(values[0], (str, bool))
                  else tf.constant(values, tf.float64) for name, values in given.items()})
assert not any(name.startswith("lmeformula") for name in sys.modules)
print(json.dumps({name: values.numpy().tolist() for name, values in found.items()}))
"""


@cache
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 240
    frame = pd.DataFrame(
        {
            "x": rng.normal(2, 1, n),
            "z": rng.uniform(1, 9, n),
            "a": rng.choice(list("pqr"), n),
            "b": rng.choice(["u", "v"], n),
            "t": rng.uniform(size=n) < 0.5,
            "k": rng.integers(1, 5, n),
            "g": rng.integers(0, 12, n),
            "odd name": rng.choice(list("ABCDE"), n),
            "size": rng.integers(3, 9, n),
        }
    )
    eta = (
        0.3 * frame["x"] - 0.1 * frame["z"] + (frame["a"] == "q") + rng.normal(size=12)[frame["g"]]
    )
    frame["y"] = eta + rng.normal(size=n)
    frame["c"] = rng.poisson(np.exp(eta.clip(-3, 2)))
    frame["o"] = 1 + np.searchsorted([-0.5, 0.5, 1.5], eta + rng.logistic(size=n))
    frame["kind"] = np.array(["few", "many", "all"], dtype=object)[np.digitize(frame["y"], [0, 1])]
    frame["s"] = rng.binomial(frame["size"], 1 / (1 + np.exp(-eta)))
    return frame


def new_rows() -> pd.DataFrame:
    """Rows beyond the data in every direction, and levels never seen."""
    rows = table().sample(50, random_state=1)
    unseen = np.arange(50) % 7 == 0
    return rows.assign(
        x=1.6 * rows["x"], z=1.2 * rows["z"], g=np.where(unseen, 99, rows["g"].to_numpy())
    )


CASES = {
    "interactions": ("y ~ x * a + log(z) + (x | g) + (1 | `odd name`)", "gaussian"),
    "bases": ("y ~ poly(x, 3) + ns(z, 3) + t + factor(k) + (1 | g:b)", "gaussian"),
    "splines": ("y ~ bs(z, df=5) * b + scale(x) + I(x^2) + offset(z / 10) + (a | g)", "gaussian"),
    "coding": ("y ~ a:b + x:b:a + (0 + a | g) + (0 + x | g)", "gaussian"),
    "structures": ("y ~ 0 + a + (x || g) + diag(b | k)", "gaussian"),
    "counts": ("c ~ x + a + (1 | g)", "poisson"),
    "zeros": ("c ~ x + (1 | g)", "zero_inflated_poisson"),
    "shares": ("s | trials(size) ~ x + t + (1 | g / b)", "binomial(cloglog)"),
    "categories": ("o ~ x + a + (1 | g)", "cumulative"),
    # The terms of the second predictor are in another order than those of both together.
    "several": (
        {
            "mu": "y ~ x * a + offset(z / 10) + (x | p | g)",
            "sigma": "~ z + offset(x / 5) + (1 | b) + (1 | p | g)",
        },
        "gaussian",
    ),
    "zeros by formula": (
        {"mu": "c ~ x + (1 | g)", "zi": "~ z + (1 | `odd name`)"},
        "zero_inflated_poisson",
    ),
    "kinds": ("kind ~ x + a + (1 | g)", "categorical"),
    "scaled categories": ({"mu": "o ~ x + (1 | g)", "disc": "~ a"}, "cumulative"),
}
# As good as another of its kind.
SLOW = ("scaled categories",)
OUTPUTS = {
    "categories": {"link", "prediction", "probabilities"},
    "scaled categories": {"link", "prediction", "probabilities"},
    "kinds": {"link", "probabilities"},
}
PREDICTORS = {
    "several": ("mu", "sigma"),
    "zeros by formula": ("mu", "zi"),
    "kinds": ("few", "many"),
    "scaled categories": ("mu", "disc"),
}


@cache
def fit_of(name: str) -> lf.Fit:
    formula, family = CASES[name]
    method = "exact" if family == "gaussian" and isinstance(formula, str) else "laplace"
    with warnings.catch_warnings():
        # Small data and many terms: what is estimated does not matter, nor that it is singular.
        warnings.simplefilter("ignore")
        return lf.fit(formula, table(), family, method=method)


def as_inputs(written: Any, rows: pd.DataFrame) -> dict[str, list[Any]]:
    convert = {"number": float, "truth value": bool, "level": str}
    return {
        one.name: [convert[one.kind](value) for value in rows[one.column].tolist()]
        for one in written.inputs
    }


@pytest.mark.parametrize(
    "name", [pytest.param(c, marks=[pytest.mark.slow] if c in SLOW else []) for c in CASES]
)
def test_raw_columns_and_design_rows_predict_as_the_fit_does(name, tmp_path):
    fit, rows = fit_of(name), new_rows()
    written = fit.export(tmp_path / "served")
    signatures = tf.saved_model.load(str(written.path)).signatures
    given = {
        name: tf.constant(values) if isinstance(values[0], str | bool) else np.array(values)
        for name, values in as_inputs(written, rows).items()
    }
    raw = signatures["serving_default"](**{k: tf.constant(v) for k, v in given.items()})
    built = fit.model.design.rebuild(rows)
    arrays = {"X": built.X, "offset": built.offset}
    arrays |= {f"offset_{k}": each for k, each in enumerate(built.offsets[1:], 2)}
    for number, block in enumerate(built.terms, 1):
        arrays |= {f"values_{number}": block.values, f"index_{number}": block.index.astype(int)}
    direct = signatures["design_rows"](**{k: tf.constant(v) for k, v in arrays.items()})
    assert set(raw) == set(direct) == set(written.outputs)
    for kind, output in (("link", "link"), ("response", "prediction"), ("prob", "probabilities")):
        if output not in written.outputs:
            continue
        expected = fit.predict(rows, kind=kind, new_levels="population").to_numpy()
        for found in (raw, direct):
            np.testing.assert_allclose(found[output].numpy(), expected, rtol=1e-9, atol=1e-9)
    assert set(written.outputs) == OUTPUTS.get(name, {"link", "prediction"})
    assert written.predictors == PREDICTORS.get(name, ())
    assert ("columns of link" in repr(written)) == bool(written.predictors)


@pytest.mark.parametrize(
    ("family", "formulas", "own", "has_mean"),
    [
        ("student", {"mu": "y ~ x + (1 | g)", "scale": "~ z", "df": "~ x"}, (), True),
        ("lognormal", {"mu": "w ~ x + (1 | g)", "sigma": "~ z"}, (), True),
        ("gamma", {"mu": "w ~ x + (1 | g)", "shape": "~ z"}, (), True),
        ("tweedie", {"mu": "w ~ x + (1 | g)", "dispersion": "~ z"}, (1.5,), True),
        ("nbinom2", {"mu": "c ~ x + (1 | g)", "dispersion": "~ z"}, (), True),
        ("zero_inflated_nbinom2", {"mu": "c ~ x + (1 | g)", "dispersion": "~ z"}, (0.3,), True),
        ("zero_inflated_nbinom2", {"mu": "c ~ x + (1 | g)", "zi": "~ z"}, (1.7,), True),
        ("beta_binomial", {"mu": "s | trials(size) ~ x + (1 | g)", "phi": "~ z"}, (), True),
        # What is left of counts without zeros is no multiple of an exponential.
        ("hurdle_poisson", {"mu": "c ~ x + (1 | g)", "hu": "~ z"}, (), False),
    ],
)
def test_means_of_several_predictors_are_those_of_the_fit(family, formulas, own, has_mean):
    frame = table().assign(w=lambda rows: np.exp(rows["y"] / 4.0))
    model = lf.compile(lf.design(formulas, frame), family)
    params = Params(beta=np.zeros(len(model.design.names)), covariances=(), own=np.array(own))
    fit: Any = SimpleNamespace(model=model, params=params)
    eta = np.random.default_rng(1).uniform(-2.0, 2.0, (20, model.design.num_predictors))
    found = _scales(fit)(tf.constant(eta))
    np.testing.assert_array_equal(found["link"], eta)
    assert ("prediction" in found) == has_mean
    if has_mean:
        np.testing.assert_allclose(found["prediction"], mean_response(fit, eta.T), rtol=1e-9)


def test_a_program_without_this_package_predicts_the_same(tmp_path):
    fit, rows = fit_of("categories"), new_rows()
    written = fit.export(tmp_path / "served")
    given = tmp_path / "given.json"
    given.write_text(json.dumps(as_inputs(written, rows)))
    command = [sys.executable, "-c", PROGRAM, str(written.path), str(given)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = fit.predict(rows, kind="prob", new_levels="population").to_numpy()
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-9)


def test_a_mean_that_tensorflow_does_not_know_is_left_out(tmp_path):
    fit = lf.fit("c ~ x + (1 | g)", table(), "hurdle_poisson", method="laplace")
    written = fit.export(tmp_path / "served")
    assert written.outputs == ("link",)
    assert [one.name for one in written.inputs] == ["x", "g"]


@pytest.mark.parametrize("name", ["counts", "zeros by formula"])
def test_a_loaded_fit_is_written_the_same(name, tmp_path):
    fit, rows = fit_of(name), new_rows()
    again = lf.load(fit.save(tmp_path / "fit.zip"))
    written = again.export(tmp_path / "served")
    served = tf.saved_model.load(str(written.path)).signatures["serving_default"]
    given = {
        name: tf.constant(values) if isinstance(values[0], str) else np.array(values)
        for name, values in as_inputs(written, rows).items()
    }
    found = served(**{k: tf.constant(v) for k, v in given.items()})
    expected = fit.predict(rows, new_levels="population")
    np.testing.assert_allclose(found["prediction"], expected, rtol=1e-9)


def test_what_is_missing_or_never_seen_among_fixed_effects_gives_nan(tmp_path):
    written = fit_of("counts").export(tmp_path / "served")
    served = tf.saved_model.load(str(written.path)).signatures["serving_default"]
    found = served(
        x=tf.constant([1.0, 1.0, np.nan], tf.float64),
        a=tf.constant(["p", "never", "p"]),
        g=tf.constant(["3", "3", "3"]),
    )
    assert np.isnan(found["link"]).tolist() == [False, True, True]


@pytest.mark.parametrize("term", ["lag(x)", 'relevel(a, ref = "q")', "mine(x)"])
def test_other_calls_leave_design_rows_and_say_so(term, tmp_path):
    fit = lf.fit(f"y ~ {term} + (1 | g)", table(), functions={"mine": lambda x: x + 1.0})
    written = fit.export(tmp_path / "served")
    assert written.inputs == ()
    assert term.partition("(")[0] in written.reason
    assert "no signature of raw columns" in repr(written)
    assert set(tf.saved_model.load(str(written.path)).signatures) == {"design_rows"}


def test_inputs_have_names_that_a_program_can_write(tmp_path):
    written = fit_of("interactions").export(tmp_path / "served")
    names = {one.column: one.name for one in written.inputs}
    assert names["odd name"] == "odd_name"
    assert "serving_default  x (float64), a (string), z (float64)" in repr(written)


def test_nothing_is_left_where_writing_fails(tmp_path, monkeypatch):
    def fail(module: Any, folder: str, signatures: Any) -> None:
        (Path(folder) / "half").write_text("half")
        raise OSError("no space left")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="no space left"):
        fit_of("counts").export(tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_not_replaced(tmp_path):
    with pytest.raises(FileExistsError, match="choose another path"):
        fit_of("counts").export(tmp_path)


def test_a_design_made_by_hand_is_refused(tmp_path):
    fit = fit_of("counts")
    bare = replace(fit.model, design=replace(fit.model.design, recipe=None))
    with pytest.raises(ModelError, match="put together by hand"):
        replace(fit, model=bare).export(tmp_path / "served")
