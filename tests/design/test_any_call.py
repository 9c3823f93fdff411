"""Calls of every function with arguments at random: a design, or an error of ours, within bounded memory."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest

from lmeformula.design import design
from lmeformula.design.functions import FUNCTIONS
from lmeformula.errors import FormulaDataError, LmeFormulaError

RANDOM = np.random.default_rng(0)
DATA = pd.DataFrame(
    {
        "y": RANDOM.normal(size=40),
        "x": RANDOM.normal(size=40),
        "z": np.where(np.arange(40) % 9 == 0, np.nan, RANDOM.normal(size=40)),
        "i": np.where(np.arange(40) == 3, np.inf, RANDOM.normal(size=40)),
        "n": np.full(40, np.nan),
        "k": np.ones(40),
        "p": RANDOM.poisson(3, 40),
        "l": RANDOM.random(40) < 0.5,
        "f": list("abcd") * 10,
        "t": pd.date_range("2020-01-01", periods=40),
        "o": pd.Categorical(list("uvwu") * 10, categories=["u", "v", "w"], ordered=True),
        "g": np.arange(40) % 8,
    }
)
COLUMNS = ("x", "z", "i", "n", "k", "p", "l", "f", "t", "o")
CONSTANTS = (
    *(
        "0",
        "1",
        "2",
        "3",
        "-1",
        "2.5",
        "1e8",
        "1e308",
        "-1e308",
        "1/0",
        "-1/0",
        "0/0",
        "NA",
        "NULL",
    ),
    *(
        "TRUE",
        "FALSE",
        '"a"',
        '""',
        "c(1, 2)",
        "c(0, 1/0)",
        'c("a", "b")',
        "c(0/0, 1)",
        "1:3",
        "pi",
    ),
    *("contr.sum", "Treatment(2)", "0:99999", "c()"),
)
OPERATORS = ("+", "-", "*", "/", "^", "%%", "%/%", "==", "<", ">=", "&", "|", "%in%")
NAMES = (
    *("df", "knots", "degree", "intercept", "Boundary.knots", "raw", "breaks", "labels", "right"),
    *("levels", "digits", "k", "base", "ref", "contr", "center", "scale", "na.rm", "ordered"),
    *("include.lowest", "ordered_result", "sep", "levelsToKeep"),
)


def argument(random: np.random.Generator, depth: int) -> str:
    """A column, a constant, an operation or a call."""
    kind = random.random()
    if kind < 0.4:
        return str(random.choice(COLUMNS))
    if kind < 0.8 or depth > 2:
        return str(random.choice(CONSTANTS))
    if kind < 0.9:
        operator = random.choice(OPERATORS)
        return f"({argument(random, depth + 1)} {operator} {argument(random, depth + 1)})"
    return call(random, str(random.choice(list(FUNCTIONS))), depth + 1)


def call(random: np.random.Generator, name: str, depth: int = 0) -> str:
    """A call with up to four arguments, some by name; most start with a column."""
    arguments = [argument(random, depth) for _ in range(random.integers(0, 5))]
    if arguments and random.random() < 0.7:
        arguments[0] = str(random.choice(COLUMNS))
    named = [
        f"{random.choice(NAMES)} = {text}" if place and random.random() < 0.4 else text
        for place, text in enumerate(arguments)
    ]
    return f"{name}({', '.join(named)})"


def hold(formula: str) -> None:
    """Make the design, and its new rows; nothing but an error of ours may come out."""
    try:
        made = design(formula, DATA)
        made.rebuild(DATA.iloc[5:9])
    except LmeFormulaError:
        pass
    except Exception as error:
        raise AssertionError(f"{formula!r}: {type(error).__name__}: {error}") from error


def run(seed: int, calls_of_each: int) -> None:
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(calls_of_each):
            for name in FUNCTIONS:
                text = call(random, name)
                place = random.random()
                hold(
                    f"y ~ {text} + (1 | g)"
                    if place < 0.8
                    else f"{text} ~ 1 + (1 | g)"
                    if place < 0.9
                    else f"y ~ x + ({text} | g)"
                )


def test_calls_at_random() -> None:
    run(1, 6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 20))
def test_many_calls_at_random(seed: int) -> None:
    run(seed, 100)


TOO_LARGE = (
    *("cut(x, 1e8)", "cut(x, 1e308)", "ns(x, 1e6)", "ns(x, 1e9)", "cr(x, 1e6)", "bs(x, 1e9)"),
    *(
        "bs(x, degree = 1e6)",
        "poly(x, 1e6)",
        "poly(x, 1e9, raw = TRUE)",
        "poly(x, p, z, 900, raw = TRUE)",
    ),
    *("ns(x, knots = 0:99999)", "cut(x, 0:500000)"),
)


@pytest.mark.parametrize("text", TOO_LARGE)
def test_a_number_cannot_ask_for_gigabytes(text: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(FormulaDataError, match=r"most|many|products|columns"):
            design(f"y ~ {text} + (1 | g)", DATA)
        assert tracemalloc.get_traced_memory()[1] < 2**28
    finally:
        tracemalloc.stop()


def test_a_base_of_logarithms_may_be_a_column() -> None:
    data = DATA.assign(b=np.where(DATA["l"], 2.0, 10.0), e=np.exp(DATA["x"]))
    made = design("y ~ log(e, b) + (1 | g)", data)
    np.testing.assert_allclose(made.X[:, 1], data["x"] / np.log(data["b"]))


def test_rounding_to_no_place_at_all() -> None:
    np.testing.assert_array_equal(design("y ~ round(x, 1e308)", DATA).X[:, 1], DATA["x"])


@pytest.mark.parametrize("test", ["0/0", "NA", "k > 0/0"])
@pytest.mark.parametrize("others", ["1, 2", "k, o", "o, k", 'TRUE, "a"'])
def test_a_test_that_is_missing_as_a_whole(test: str, others: str) -> None:
    hold(f"y ~ ifelse({test}, {others}) + (1 | g)")
    with pytest.raises(LmeFormulaError):
        design(f"y ~ ifelse({test}, {others}) + (1 | g)", DATA)
