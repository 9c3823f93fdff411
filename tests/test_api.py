"""The public pipeline: one call and its four stages, options, and every bad input before TensorFlow."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import ConvergenceError, ModelError
from tests.simulate import frame

FORMULA = "y ~ x + (1 | g) + (1 | h)"


def same_bits(one: lf.Fit, other: lf.Fit) -> None:
    assert one.param_names == other.param_names
    for field in ("param_values", "param_stderr", "param_mc_error", "fixed_vcov"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    for field in ("modes", "mode_cov"):
        for a, b in zip(getattr(one, field), getattr(other, field), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.loglik == other.loglik
    assert one.outcome is other.outcome


OPTIONS = [
    {"method": "exact"},
    {"method": "exact", "reml": True},
    {"method": "mcem", "seed": 3, "tolerance": 0.02, "num_chains": 3, "progress": False},
]


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))
)
def test_fit_is_its_stages_composed(options):
    data = frame()
    stages = lf.estimate(lf.compile(lf.design(lf.parse(FORMULA), data)), **options)
    same_bits(lf.fit(FORMULA, data, **options), stages)


@pytest.mark.parametrize(
    ("design_options", "compile_options"),
    [
        ({"weights": "w"}, {}),
        ({"offset": "o"}, {"sigma": 0.5}),
        ({"contrasts": {"c": "sum"}}, {}),
        ({"functions": {"twice": lambda v: 2 * v}}, {}),
    ],
)
def test_fit_passes_its_arguments_to_the_stage_they_belong_to(design_options, compile_options):
    data = {**frame(), "c": np.array(["a", "b", "c"])[frame()["c"]]}
    formula = (
        "y ~ twice(x) + c + (1 | g)" if "functions" in design_options else "y ~ x + c + (1 | g)"
    )
    stages = lf.estimate(lf.compile(lf.design(formula, data, **design_options), **compile_options))
    same_bits(lf.fit(formula, data, **design_options, **compile_options), stages)


def test_a_parsed_formula_is_taken_as_it_is():
    same_bits(lf.fit(lf.parse(FORMULA), frame()), lf.fit(FORMULA, frame()))


def test_auto_is_exact_for_gaussian_models():
    assert lf.fit(FORMULA, frame()).method == "exact"


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ 0 + x + (1 | g)",
        "y ~ x * z + (1 | g)",
        "y ~ x:z + (1 | g)",
        "y ~ factor(c):x + (1 | g)",
        "y ~ x + (x | g)",
        "y ~ x + (x || g)",
        "y ~ x + (0 + x | g)",
        "y ~ x + (1 | h / c)",
    ],
)
def test_every_promised_form_fits(formula):
    fit = lf.fit(formula, frame())
    assert fit.converged
    assert np.isfinite(fit.param_values).all()
    assert fit.nobs == 72


def test_every_form_of_data():
    import pandas as pd

    data = frame()
    expected = lf.fit(FORMULA, data)
    same_bits(lf.fit(FORMULA, pd.DataFrame(data)), expected)


REFUSED = {
    "method": (
        {"method": "laplase"},
        "method is 'laplase'\nChoose one of 'auto', 'exact', 'quadrature', 'laplace', 'mcem', 'nuts', "
        "'vi'.",
    ),
    "reml by mcem": (
        {"method": "mcem", "reml": True},
        'mcem maximises the likelihood, not the restricted one\nUse method="exact" with reml=True, '
        "for a gaussian model.",
    ),
    "tolerance zero": ({"tolerance": 0}, "tolerance is 0\n"),
    "tolerance negative": ({"tolerance": -0.1}, "tolerance is -0.1\n"),
    "tolerance nan": ({"tolerance": float("nan")}, "tolerance is nan\n"),
    "iterations": (
        {"max_iterations": 0},
        "max_iterations is 0\nGive a whole number of at least 1.",
    ),
    "draws": ({"max_draws": 9}, "max_draws is 9\nGive a whole number of at least 10."),
    "chains": ({"num_chains": 0}, "num_chains is 0\nGive a whole number of at least 1."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_options(case):
    options, text = REFUSED[case]
    model = lf.compile(lf.design(FORMULA, frame()))
    for call in (
        lambda: lf.estimate(model, **options),
        lambda: lf.fit(FORMULA, frame(), **options),
    ):
        with pytest.raises(ModelError) as caught:
            call()
        assert str(caught.value).startswith(text)
        assert caught.value.hint


def test_strict_raises_with_the_fit():
    model = lf.compile(lf.design(FORMULA, frame()))
    options = {"method": "mcem", "max_iterations": 1, "progress": False}
    loose = lf.estimate(model, **options)
    assert loose.outcome is lf.Outcome.ITERATIONS_EXHAUSTED
    with pytest.raises(ConvergenceError, match="Stopped at max_iterations") as caught:
        lf.estimate(model, **options, strict=True)
    same_bits(caught.value.fit, loose)
    assert lf.estimate(model, strict=True).converged


def test_progress_is_shown_to_nobody_where_there_is_no_terminal(capsys):
    model = lf.compile(lf.design(FORMULA, frame()))
    lf.estimate(model, method="mcem", max_iterations=1)
    assert capsys.readouterr() == ("", "")
    lf.estimate(model, method="mcem", max_iterations=1, progress=False)
    assert capsys.readouterr().err == ""


def test_seconds_are_of_all_stages():
    seconds = lf.fit(FORMULA, frame()).seconds
    assert 0 < seconds.design < seconds.total


@pytest.mark.parametrize("call", [lf.fit, lf.estimate, lf.compile, lf.design, lf.parse])
def test_public_functions_are_documented(call):
    text = inspect.getdoc(call)
    for part in ("Args:", "Returns:", "Raises:", "Example:"):
        assert part in text
    for name in inspect.signature(call).parameters:
        assert f"{name}:" in text


# ---- bad input: what, where, what to do, before TensorFlow is imported

GOLDEN = Path(__file__).with_name("bad_input.txt")

# name: (formula, Python that changes the rows); the messages are in GOLDEN
BAD_INPUT = {
    "absent column": ("y ~ servce + (1 | g)", "data['service'] = data['x']"),
    "absent grouping factor": ("y ~ x + (1 | group)", ""),
    "response is text": ("y ~ x + (1 | g)", "data['y'] = ['a', 'b', 'c', 'd'] * 18"),
    "empty frame": ("y ~ x + (1 | g)", "data = {k: v[:0] for k, v in data.items()}"),
    "one level": ("y ~ x + (1 | g)", "data['g'] = [1] * 72"),
    "all rows missing": ("y ~ x + (1 | g)", "data['x'] = [float('nan')] * 72"),
    "infinite values": ("y ~ x + (1 | g)", "data['x'][3] = float('inf')"),
    "infinite response": ("y ~ x + (1 | g)", "data['y'][70] = -float('inf')"),
    "constant response": ("y ~ x + (1 | g)", "data['y'][:] = 2.5"),
    "duplicate column names": (
        "y ~ x + (1 | g)",
        "import pandas; data = pandas.DataFrame(data); data.columns = list('yxxghcwov')",
    ),
    "more coefficients than rows": (
        "y ~ x + z + w + o + (1 | g)",
        "data = {k: v[[0, 1, 2, 12]] for k, v in data.items()}",
    ),
    "a level for each row": ("y ~ x + (1 | g)", "data['g'] = list(range(72))"),
    "negative weights": ("y | weights(w) ~ x + (1 | g)", "data['w'][5] = -1.0"),
    "columns of unequal length": ("y ~ x + (1 | g)", "data['x'] = data['x'][:5]"),
    "not a data frame": ("y ~ x + (1 | g)", "data = 5"),
    "not a formula": ("y ~ x + (1 | ", ""),
}


def golden_messages() -> dict[str, str]:
    """The blocks of GOLDEN by title: '# title', the formula, '!!', the message, '---'."""
    found = {}
    for block in GOLDEN.read_text(encoding="utf-8").split("\n---\n"):
        head, _, message = block.partition("\n!!\n")
        if message:
            found[head.strip().splitlines()[0].removeprefix("# ")] = message
    return found


@pytest.fixture(scope="module")
def reports() -> dict[str, list[str]]:
    """For each bad input, the classes and the text of what `lf.fit` raises; one process for all."""
    script = """
        import json, sys
        sys.modules["tensorflow"] = None  # importing it would raise ImportError
        import lmeformula as lf
        from tests.simulate import frame
        found = {}
        for name, (formula, change) in json.loads(sys.stdin.read()).items():
            names = {"data": frame()}
            exec(change, names)
            try:
                lf.fit(formula, names["data"], method="mcem")
                found[name] = ["", "", ""]
            except Exception as error:
                classes = [kind.__name__ for kind in type(error).__mro__]
                found[name] = [classes, str(error), getattr(error, "hint", "")]
        print(json.dumps(found))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        input=json.dumps(BAD_INPUT),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_bad_input_is_named_placed_and_answered(reports, update_golden):
    for name, (classes, text, hint) in reports.items():
        assert "LmeFormulaError" in classes, f"{name}: {text}"
        assert hint, f"{name}: {text}"
        assert text.endswith(hint), name
    if update_golden:
        blocks = [
            f"# {name}\n{BAD_INPUT[name][0]}\n!!\n{text}" for name, (_, text, _) in reports.items()
        ]
        GOLDEN.write_text("\n---\n".join(blocks) + "\n---\n", encoding="utf-8")
    assert {name: text for name, (_, text, _) in reports.items()} == golden_messages()
