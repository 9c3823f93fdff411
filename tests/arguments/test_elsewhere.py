"""What other packages call what a fit has is answered with what to write."""

from __future__ import annotations

import re

import pytest

import lmeformula as lf
from lmeformula.arguments.elsewhere import IN_R, OF_A_FIT, OF_THE_PACKAGE


@pytest.fixture(scope="module")
def fit() -> lf.Fit:
    return lf.fit("Yield ~ 1 + (1 | Batch)", lf.datasets.load("dyestuff"))


@pytest.mark.parametrize("name", OF_A_FIT)
def test_an_attribute_elsewhere_leads_to_one_that_is_there(name: str, fit: lf.Fit) -> None:
    with pytest.raises(AttributeError, match=rf"^a fit has no '{name}': write ") as caught:
        getattr(fit, name)
    for path in re.findall(r"fit\.([\w.]+)", str(caught.value)):
        found = fit
        for part in path.split("."):
            found = getattr(found, part)


@pytest.mark.parametrize("name", OF_THE_PACKAGE)
def test_a_function_elsewhere_leads_to_one_that_is_there(name: str) -> None:
    assert name not in IN_R
    with pytest.raises(AttributeError, match=rf"has no '{name}': write ") as caught:
        getattr(lf, name)
    for path in re.findall(r"lf\.(\w+)", str(caught.value)):
        getattr(lf, path)


def test_a_slip_is_told_what_may_be_meant(fit: lf.Fit) -> None:
    with pytest.raises(AttributeError, match="Did you mean 'loglik'"):
        _ = fit.logliks  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="Did you mean 'fit'"):
        _ = lf.fitt
    with pytest.raises(AttributeError, match="It has convergence"):
        _ = fit.plot.everything
    with pytest.raises(lf.ArgumentError, match="several plots"):
        fit.plot()


def test_what_python_asks_for_is_not_answered(fit: lf.Fit) -> None:
    assert not hasattr(fit, "_ipython_display_")
    assert not hasattr(fit, "__array__")


def test_a_table_that_is_called_is_the_table(fit: lf.Fit) -> None:
    assert fit.fixef().equals(fit.fixef)
    assert fit.vcov().equals(fit.vcov)
    # What is made of it is no such table.
    assert [type(one).__name__ for one in (fit.fixef * 2, fit.vcov + 1)] == ["Series", "DataFrame"]


def test_a_method_that_is_not_called_says_so(fit: lf.Fit) -> None:
    assert repr(fit.fitted) == "fitted() is a method: call it."
    with pytest.raises(AttributeError, match=r"write fitted\(\)\.mean"):
        _ = fit.fitted.mean  # type: ignore[attr-defined]
