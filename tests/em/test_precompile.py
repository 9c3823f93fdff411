"""Programs compiled before the Laplace fit are those that the run then uses."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.em.loop import run
from lmeformula.em.precompile import compile_ahead
from lmeformula.em.types import Geometry, Options
from lmeformula.likelihood.laplace.fit import fit_laplace
from lmeformula.likelihood.laplace.observed import observed_information
from lmeformula.sampling.laplace import blank_whitening, laplace_problem
from lmeformula.sampling.problem import whitened_problem

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
    compile_ahead(nothing, options, "float64", blank)

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
