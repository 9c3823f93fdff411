"""Which solver is chosen, and what is refused before anything slow starts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import lmeformula as lf
from lmeformula.algebra import memory
from lmeformula.algebra.crossproducts import layout
from lmeformula.algebra.incidence import find_incidence
from lmeformula.errors import ModelError
from lmeformula.estimation.solver import choose_solver, estimate_direct
from lmeformula.rows.machine import GIB, machine_memory


def model(n: int, *terms: tuple[int, int]) -> SimpleNamespace:
    """Something with the sizes of a model of one predictor: rows, and (levels, columns) of each term."""
    blocks = [
        SimpleNamespace(levels=range(levels), columns=range(k), meets=False) for levels, k in terms
    ]
    return SimpleNamespace(design=SimpleNamespace(n=n, terms=blocks, num_predictors=1, shards=None))


CASES = {
    # name: (model, method, memory in GiB, choice)
    "InstEval": (model(73_421, (2_972, 1), (1_128, 1), (14, 1)), "mcem", 8, "direct"),
    "one term of a million levels": (model(10**7, (10**6, 2)), "mcem", 8, "direct"),
    "a million rows, few levels across": (model(10**6, (40_000, 1), (500, 1)), "exact", 8, "direct"),
    "crossed, a million rows": (model(10**6, (40_000, 1), (16_666, 1)), "exact", 8, "iterative"),
    "the same, much memory": (model(10**6, (40_000, 1), (16_666, 1)), "exact", 512, "iterative"),
    "the block of Laplace's inverse": (model(10**6, (10**6, 1), (2_000, 1)), "laplace", 8, "iterative"),
    "no such block in an exact fit": (model(10**6, (10**6, 1), (2_000, 1)), "exact", 8, "direct"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_choice(name):
    given, method, memory, choice = CASES[name]
    assert choose_solver(given, method, "auto", memory * GIB) == choice
    assert choose_solver(given, method, "iterative", memory * GIB) == "iterative"


# A model of several linear predictors, the method, what is asked for, memory in GiB, and the choice.
CROSSED = ((40_000, 1), (16_666, 1), (16_666, 1))
SEVERAL = {
    "crossed": (CROSSED, "laplace", "auto", 8, "iterative"),
    "asked for": (((100, 1), (20, 1)), "laplace", "iterative", 8, "iterative"),
    "few levels across": (((40_000, 1), (50, 1), (50, 1)), "laplace", "auto", 8, "direct"),
    "by draws": (((4_000, 1), (1_600, 1), (1_600, 1)), "mcem", "auto", 1, "direct"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_choice_for_several_predictors(name):
    terms, method, asked, memory, choice = SEVERAL[name]
    given = model(10**6, *terms)
    given.design.num_predictors = 2
    assert choose_solver(given, method, asked, memory * GIB) == choice


def test_the_iterative_solver_does_not_draw_for_several_predictors():
    given = model(10**6, *CROSSED)
    given.design.num_predictors = 2
    with pytest.raises(ModelError, match=r'one linear predictor\nUse solver="direct", or method'):
        choose_solver(given, "mcem", "iterative", 8 * GIB)
    with pytest.raises(ModelError, match=r'dense block .*\nUse method="laplace"'):
        choose_solver(given, "mcem", "auto", 8 * GIB)


def test_the_dense_block_is_of_all_terms_but_the_largest():
    needs = estimate_direct(model(10_000, (500, 1), (400, 2), (30, 1)), "exact")
    assert needs.order == 530
    assert needs.memory == 8.0 * 4 * 530**2


def test_a_direct_solver_that_does_not_fit_is_refused_with_its_size():
    given = model(10**7, (400_000, 1), (166_666, 1))
    with pytest.raises(ModelError, match=r"need about 828 GiB .* order 166,666.* has 23 GiB") as e:
        choose_solver(given, "exact", "direct", 23 * GIB)
    assert 'solver="iterative"' in str(e.value)


def test_memory_is_that_of_this_machine():
    assert 0.1 * GIB < machine_memory() < 1e6 * GIB


def test_no_other_use_of_the_dense_block_is_started_either(monkeypatch):
    data = lf.datasets.load("dyestuff").assign(other=lambda d: range(len(d)))
    design = lf.design("Yield ~ 1 + (1|Batch) + (1|other)", data)
    monkeypatch.setattr(memory, "machine_memory", lambda: 100.0)
    with pytest.raises(ModelError, match=r"dense block of order 6, .* about 0 GiB"):
        find_incidence(layout(design.terms))


def test_an_unknown_solver_is_refused():
    data = lf.datasets.load("dyestuff")
    with pytest.raises(
        ModelError, match=r"solver is 'dense'\nChoose one of 'auto', 'direct', 'iterative'\."
    ):
        lf.fit("Yield ~ 1 + (1|Batch)", data, solver="dense")


def test_what_the_iterative_solver_does_not_fit_is_refused():
    data = lf.datasets.load("dyestuff")
    with pytest.raises(ModelError, match="iterative solver does not fit gaussian models by mcem"):
        lf.fit("Yield ~ 1 + (1|Batch)", data, method="mcem", solver="iterative", progress=False)


def test_one_term_is_fitted_without_error():
    data = lf.datasets.load("dyestuff")
    exact, found = (
        lf.fit("Yield ~ 1 + (1|Batch)", data, solver=solver) for solver in ("direct", "iterative")
    )
    np.testing.assert_allclose(found.param_values, exact.param_values, rtol=1e-5)
    np.testing.assert_allclose(found.param_stderr, exact.param_stderr, rtol=2e-3)
    assert float(found.loglik) == pytest.approx(float(exact.loglik), abs=1e-6)
    assert found.loglik.mc_error == 0.0
    assert "iterative solver" in str(found.summary())
