"""Compiled programs: found again by shape, dropped in turn, and gone with all their memory when they are."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.em import programs
from lmeformula.em.cached_program import MOST_SHAPES, Kept
from lmeformula.em.loop import run
from lmeformula.em.programs import precompile
from lmeformula.em.types import Geometry, Options
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.observed import observed_information
from lmeformula.sampling.laplace import blank_whitening, laplace_problem
from lmeformula.sampling.problem import whitened_problem


@pytest.fixture
def no_programs(monkeypatch):
    """As in a new process, with room for two programs."""
    monkeypatch.setattr(programs, "_kept", programs.Recent(2))


@pytest.fixture
def sessions(monkeypatch):
    """Weak references to all sessions that are made."""
    made = []
    real = tf.compat.v1.Session

    def watched(*given, **named):
        session = real(*given, **named)
        made.append(weakref.ref(session))
        return session

    monkeypatch.setattr(tf.compat.v1, "Session", watched)
    return made


def test_the_program_used_least_recently_is_dropped(mean_problem, no_programs):
    def found(num_leapfrog):
        return programs.programs(mean_problem, Options(num_leapfrog=num_leapfrog), "float64")

    first, second = found(1), found(2)
    assert found(1) is first
    found(3)
    assert found(1) is first
    assert found(2) is not second


def test_a_dropped_program_ends_its_sessions(mean_problem, no_programs, sessions):
    def function(x):
        return {"twice": 2.0 * x}

    for number in range(4):
        found = programs.programs(mean_problem, Options(num_leapfrog=1 + number), "float64")
        # Of a function that compiles in no time.
        found.walk._function = function
        found.walk(np.ones(3))
        assert all(session() is not None for session in sessions[-2:])
    del found
    # By reference counts alone: nobody has to wait for the collector.
    assert [session() is None for session in sessions] == [True, True, False, False]


def test_what_was_traced_is_gone(sessions):
    traced = []

    def function(x):
        traced.append(weakref.ref(x.graph))
        return x + 1.0

    kept = Kept(function)
    assert kept(np.ones(3)).tolist() == [2.0, 2.0, 2.0]
    gc.collect()
    assert [graph() for graph in traced] == [None]
    (session,) = sessions
    assert session() is not None
    del kept
    assert session() is None


def test_one_program_for_each_shape_of_the_arguments():
    kept = Kept(lambda x: tf.reduce_sum(x))
    for _ in range(2):
        assert [float(kept(np.ones(n))) for n in (1, 2)] == [1.0, 2.0]
    assert kept.num_traces == 2
    for n in range(3, 3 + MOST_SHAPES):
        kept(np.ones(n))
    kept(np.ones(1))
    assert kept.num_traces == 2 + MOST_SHAPES + 1


def test_a_function_may_use_tensors_and_variables_of_the_eager_context():
    constant, variable = tf.constant([1.0, 2.0]), tf.Variable([3.0, 4.0])
    of_constant, of_variable = Kept(lambda x: x * constant), Kept(lambda x: x * variable)
    given = np.array([2.0, 3.0], np.float32)
    assert np.asarray(of_constant(given)).tolist() == [2.0, 6.0]
    assert np.asarray(of_variable(given)).tolist() == [6.0, 12.0]
    variable.assign([0.0, 1.0])
    assert np.asarray(of_variable(given)).tolist() == [0.0, 3.0]


def test_given_types_are_those_that_arguments_are_converted_to():
    kept = Kept(lambda x, y: x * y, (tf.TensorSpec([2], "float32"), tf.TensorSpec([], "float32")))
    found = kept(np.array([1.0, 2.0]), 0.5)
    assert found.dtype == np.float32
    assert found.tolist() == [0.5, 1.0]


# Data, formula, family: one term and two, vectors of effects, own parameters.
MODELS = [
    ("cbpp", "cbind(incidence, size - incidence) ~ period + (1|herd)", "binomial"),
    ("sleepstudy", "Reaction ~ Days + (Days|Subject)", "gamma"),
    ("wine", "rating ~ temp + (1|judge) + (1|bottle)", "cumulative"),
]


@pytest.mark.parametrize(("name", "formula", "family"), MODELS)
def test_the_run_compiles_nothing_more(name, formula, family):
    data = lf.datasets.load(name)
    model = lf.compile(lf.design(lf.parse(formula), data), family)
    plan, options = layout(model.design.terms), Options(tolerance=0.2)
    blank = blank_whitening(model, plan)
    nothing = whitened_problem(model, plan, np.zeros(model.space.size), lambda psi: Geometry(blank))
    precompile(nothing, options, "float64", blank)

    found = fit_laplace(model)
    psi = model.space.to_free(found.params)
    mode = found.approximation.mode.u
    free = np.ones(len(psi), bool)
    information = observed_information(model, found.problem, psi, free, mode).matrix
    problem = laplace_problem(model, found.problem, psi, information, mode)
    assert problem.geometry is not None
    arrays = problem.geometry(psi).arrays
    tf.nest.assert_same_structure(arrays, blank)
    for expected, given in zip(tf.nest.flatten(arrays), tf.nest.flatten(blank), strict=True):
        assert np.shape(expected) == np.shape(given)
        assert np.asarray(expected).dtype == np.asarray(given).dtype
    solution = run(problem, options)
    assert solution.num_traces == 1
