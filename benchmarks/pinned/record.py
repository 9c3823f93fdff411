"""Everything that a fit gives, as plain values that JSON can hold."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

import lmeformula as lf
from lmeformula.formula.show import term_text
from pinned.cases import Call

# Lines of `diagnostics` that are not the same twice.
CHANGING = re.compile(r"^\s*(seconds|compiled).*?(?=^  \w|\Z)", re.MULTILINE | re.DOTALL)
SHOWN = ("tidy", "glance", "varcorr", "confint", "r2", "joint_tests", "drop1")


def of(call: Call) -> dict[str, Any]:
    """Fit, and write down what it gives.

    Returns:
      numbers (name -> list of hexadecimal floats), texts, of what is refused its words, saved (name of a
      member -> digest) and seconds.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        began = time.perf_counter()
        fit = call.fit()
        seconds = time.perf_counter() - began
        found = {
            "numbers": {name: _numbers(array) for name, array in _arrays(fit).items()},
            "texts": _texts(fit),
            "saved": _saved(fit),
            "seconds": seconds,
        }
    found["texts"]["warnings"] = "\n".join(sorted({str(w.message) for w in warned}))
    return found


def refusal(call: Call) -> str:
    """The words that a call is refused with."""
    try:
        call.fit()
    except lf.LmeFormulaError as error:
        return f"{type(error).__name__}: {error}"
    return "not refused"


def _arrays(fit: lf.Fit) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        "estimates": fit.param_values,
        "standard errors": fit.param_stderr,
        "Monte Carlo errors": fit.param_mc_error,
        "log-likelihood": [fit.loglik.value, fit.loglik.mc_error],
        "covariance": fit.param_vcov,
        "covariance of fixed effects": fit.fixed_vcov,
    }
    arrays |= {f"effects {i}": modes for i, modes in enumerate(fit.modes)}
    arrays |= {f"variances of effects {i}": each for i, each in enumerate(fit.mode_cov)}
    for name, ask in {
        "fitted": lambda: fit.fitted(),
        "chances": lambda: fit.predict(kind="prob"),
        "residuals": lambda: fit.residuals(),
        "of no group": lambda: fit.predict(re_form="NA"),
        "simulated": lambda: fit.simulate(seed=3),
    }.items():
        try:
            arrays[name] = np.asarray(ask())
        except lf.LmeFormulaError:
            arrays[name] = []
    return arrays


def _numbers(array: Any) -> list[str]:
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        values = np.unique(values.astype(str), return_inverse=True)[1]
    return [float(value).hex() for value in values.ravel()]


def _texts(fit: lf.Fit) -> dict[str, str]:
    texts = {
        "outcome": fit.outcome.name,
        "names": "\n".join(fit.param_names),
        "summary": str(fit.summary()),
        "diagnostics": CHANGING.sub("", str(fit.diagnostics)),
        "certificate": str(fit.certificate),
        "model": str(fit.model),
    }
    asked = {name: getattr(fit, name) for name in SHOWN}
    asked["emmeans"] = lambda: fit.emmeans(_first_variable(fit))
    for name, ask in asked.items():
        try:
            texts[name] = str(ask() if callable(ask) else ask)
        except lf.LmeFormulaError as error:
            texts[name] = f"{type(error).__name__}: {error}"
    return texts


def _first_variable(fit: lf.Fit) -> str:
    """The first variable of the fixed part, as it is written; that of no column where there is none."""
    terms = fit.model.design.formula.fixed.sum.terms
    return term_text(terms[0]).split(":")[0] if terms else "1"


def _saved(fit: lf.Fit) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fit.lme"
        try:
            path = Path(fit.save(path))
        except lf.LmeFormulaError as error:
            return {"refused": str(error)}
        again = lf.load(path)
        assert np.array_equal(again.param_values, fit.param_values, equal_nan=True)
        with zipfile.ZipFile(path) as members:
            return {
                name: hashlib.sha256(_lasting(name, members.read(name))).hexdigest()[:16]
                for name in sorted(members.namelist())
            }


def _lasting(name: str, content: bytes) -> bytes:
    """A member of a saved file without the seconds that were measured."""
    if not name.endswith(".json"):
        return content

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without(each) for key, each in value.items() if key != "seconds"}
        return [without(each) for each in value] if isinstance(value, list) else value

    return json.dumps(without(json.loads(content))).encode()
