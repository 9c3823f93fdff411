"""R's spellings, and earlier ones: the same answer, and a word on what the argument is called."""

from __future__ import annotations

from functools import cache

import pandas as pd
import pytest

import lmeformula as lf


@cache
def fitted() -> lf.Fit:
    return lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))


CALLS = {
    "predict": (lambda f, **a: f.predict(**a), {"type": "link"}, {"kind": "link"}),
    "residuals": (lambda f, **a: f.residuals(**a), {"type": "pearson"}, {"kind": "pearson"}),
    "emmeans": (
        lambda f, **a: f.emmeans("Days", **a).to_frame(),
        {"type": "response"},
        {"kind": "response"},
    ),
    "fit": (
        lambda f, **a: lf.fit(f.formula, lf.datasets.load("sleepstudy"), **a).tidy(),
        {"REML": True},
        {"reml": True},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_another_spelling_is_taken_with_a_word(name):
    call, other, ours = CALLS[name]
    (argument, value), (kept,) = next(iter(ours.items())), other.values()
    assert value == kept
    with pytest.warns(
        FutureWarning, match=rf"^{name}\(\) calls it {argument}: {argument}="
    ) as caught:
        found = call(fitted(), **other)
    assert caught[0].filename == __file__
    expected = call(fitted(), **ours)
    compared = pd.testing.assert_frame_equal if found.ndim == 2 else pd.testing.assert_series_equal
    compared(found, expected)


@pytest.mark.parametrize("name", CALLS)
def test_both_spellings_are_too_many(name):
    call, other, ours = CALLS[name]
    with pytest.raises(TypeError, match="which are one argument"):
        call(fitted(), **other, **ours)


FORMULA = "Reaction ~ Days + (Days | Subject)"
# What other packages take -> a word of what to write here.
ELSEWHERE = [
    ("ziformula", "~ 1", r"has no argument 'ziformula'\n.*\"zi\": \"~ x\""),
    ("dispformula", "~ Days", r"has no argument 'dispformula'\n.*\"sigma\": \"~ x\""),
    ("nAGQ", 1, r'method="laplace"'),
    ("subset", [True], r"rows alone"),
    ("na_action", "omit", r"left out"),
    ("control", {}, r"max_iterations"),
    ("prior", {}, r"priors="),
]


@pytest.mark.parametrize(("argument", "value", "cure"), ELSEWHERE, ids=lambda one: str(one)[:12])
def test_what_other_packages_take_is_answered_with_what_to_write(argument, value, cure):
    with pytest.raises(TypeError, match=rf"(?s)^fit\(\) .*{cure}"):
        lf.fit(FORMULA, lf.datasets.load("sleepstudy"), **{argument: value})


def test_predictions_say_so_too():
    with pytest.raises(TypeError, match=r"^predict\(\) has no argument 'se_fit'\n.*interval="):
        fitted().predict(se_fit=True)
    with pytest.raises(TypeError, match=r"^predict\(\) has no argument .*\n.*new_levels="):
        fitted().predict(allow_new_levels=True)


def test_an_unknown_argument_is_never_taken_for_the_fit_itself():
    with pytest.raises(TypeError, match=r"'sef'\nIt takes newdata, interval"):
        fitted().predict(sef=True)
    with pytest.raises(TypeError, match=r"'k'\nIt takes folds, by"):
        fitted().cross_validate(k=5)
