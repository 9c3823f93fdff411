"""Design -> Model: what is refused, with its exact words, and what a model offers."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.errors import LmeFormulaError, ModelError
from lmeformula.family import FAMILIES
from tests.simulate import FORMULAS, frame, make_design

REFUSED = {
    "family": (
        "y ~ x + (1 | g)",
        {"family": "gausian"},
        "there is no family 'gausian'\n"
        f'Did you mean "gaussian"? Families that can be fitted: {", ".join(FAMILIES)}.',
    ),
    "dtype": (
        "y ~ x + (1 | g)",
        {"dtype": "float16"},
        "dtype is 'float16'\nChoose 'float64' or 'float32'.",
    ),
    "sigma negative": (
        "y ~ x + (1 | g)",
        {"sigma": -1},
        "sigma is -1\nGive a positive number, or zero.",
    ),
    "sigma nan": (
        "y ~ x + (1 | g)",
        {"sigma": float("nan")},
        "sigma is nan\nGive a positive number, or zero.",
    ),
    "no response": (
        "~ x + (1 | g)",
        {},
        """\
        a one-sided formula has no response to fit
            ~ x + (1 | g)
            ^
        Write response ~ terms.""",
    ),
    "no random-effects term": (
        "y ~ x",
        {},
        """\
        the formula has no random-effects term
            y ~ x
                 ^
        Add one, such as (1 | group); for a model without any, use a regression library.""",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    formula, options, text = REFUSED[case]
    design = lf.design(formula, frame())
    with pytest.raises(ModelError) as caught:
        lf.compile(design, **options)
    assert str(caught.value) == textwrap.dedent(text)


def test_sigma_of_a_family_without_one():
    without = FAMILIES["gaussian"]._replace(name="count", link="log", is_normal=False)
    with pytest.raises(ModelError, match="the count family has no residual sd to fix"):
        lf.compile(make_design("crossed"), without, sigma=1.0)


@pytest.mark.parametrize("name", FORMULAS)
def test_every_design_compiles_and_has_a_finite_start(name):
    model = lf.compile(make_design(name))
    assert np.isfinite(model.space.to_free(model.start)).all()
    assert model.sigma is None
    first, second = repr(model).splitlines()
    assert first == f"Model: {model.design.formula}"
    assert second.startswith("family gaussian (identity), 72 rows, ")


def test_repr_counts():
    assert repr(lf.compile(make_design("two columns rest"))).splitlines()[1] == (
        "family gaussian (identity), 72 rows, 2 fixed effects, 32 random effects (12 g, 4 h)"
    )


def test_frozen():
    model = lf.compile(make_design("crossed"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.dtype = "float32"


def test_parts_are_built_once_and_hold_the_start():
    model = lf.compile(make_design("crossed"), sigma=0.7, dtype="float32")
    assert model.tfp_joint is model.tfp_joint
    assert model.sigma == 0.7
    assert {variable.dtype.name for variable in model.trainable_variables} == {"float32"}
    assert "sigma" not in model.tfp_joint.variables
    assert float(model.tfp_joint.variables["stddev_g"] + 0.0) == pytest.approx(
        np.sqrt(model.start.covariances[0][0, 0]), rel=1e-6
    )


def test_compiling_and_exact_fits_do_not_load_tensorflow():
    code = """
        import sys
        sys.modules["tensorflow"] = None  # importing it now raises ImportError
        import lmeformula as lf
        from tests.simulate import frame
        fit = lf.fit("y ~ x + (x | g) + (1 | h)", frame())
        print(fit.outcome.name, fit.model.graph() is not None, len(str(fit.summary())) > 100)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True
    )
    assert done.stdout.strip() == "CONVERGED True True", done.stderr


def test_errors_are_ours_and_builtin():
    with pytest.raises(LmeFormulaError):
        lf.compile(make_design("crossed"), dtype="int8")
    with pytest.raises(ValueError, match="dtype"):
        lf.compile(make_design("crossed"), dtype="int8")
