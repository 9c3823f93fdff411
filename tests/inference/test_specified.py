"""Marginal means are asked for by names, or as in R."""

from __future__ import annotations

import pytest

import lmeformula as lf
from lmeformula.inference.specified import means_and_groups

ASKED = {
    "~ a": (["a"], ()),
    "~ a * b": (["a", "b"], ()),
    "~ a:b": (["a", "b"], ()),
    "~ a + b | c": (["a", "b"], ("c",)),
    "~ `my a` | b * c": (["my a"], ("b", "c")),
    "~1": ([], ()),
    "1": ([], ()),
    "a": (["a"], ()),
    "my a": (["my a"], ()),
}


@pytest.mark.parametrize("specs", ASKED)
def test_notation(specs: str) -> None:
    assert means_and_groups(specs, None) == ASKED[specs]


@pytest.mark.parametrize("specs", ["~", "~ a |", "~ a * | b", "~ a ~ b", "~ a | b | c", "~ a *"])
def test_what_is_no_notation_is_refused(specs: str) -> None:
    with pytest.raises(lf.ModelError, match="not written as means are"):
        means_and_groups(specs, None)


def test_a_left_side_is_a_contrast() -> None:
    with pytest.raises(lf.ModelError, match=r"\.contrasts\('pairwise'\)"):
        means_and_groups("pairwise ~ a", None)


def test_one_mean_is_the_average_of_all() -> None:
    fit = lf.fit("score ~ Machine + (1 | Worker)", lf.datasets.load("Machines"))
    one = fit.emmeans("~ 1").to_frame()["estimate"].to_numpy()
    each = fit.emmeans("~ Machine").to_frame()["estimate"]
    assert one == pytest.approx([each.mean()])
