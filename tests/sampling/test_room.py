"""Padding: a model's arrays among larger ones say the same, to rounding, and no draw depends on their size."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import lmeformula as lf
from lmeformula.algebra.crossproducts import layout
from lmeformula.em import programs
from lmeformula.em.estep import hmc
from lmeformula.em.padding import among_all, own, ranks
from lmeformula.em.programs import tensors_of
from lmeformula.likelihood.laplace.modes import arrays_of
from lmeformula.sampling import room
from lmeformula.sampling.gaussian import gaussian_problem
from lmeformula.sampling.laplace import laplace_problem
from lmeformula.sampling.room import Axis, placed, repeated, room_for
from lmeformula.sampling.student_problem import StudentModel, student_problem
from tests.sampling.test_roots import start

ROUNDING = 1e-12


def test_what_is_placed():
    axis = Axis((2, 1), (3, 2))
    assert axis.size == 5
    assert axis.places.tolist() == [0, 1, 3]
    assert placed(np.array([1.0, 2.0, 3.0]), axis).tolist() == [1, 2, 0, 3, 0]
    assert repeated(np.array([1.0, 2.0, 3.0]), axis).tolist() == [1, 2, 1, 3, 3]
    square = np.arange(9.0).reshape(3, 3)
    found = placed(square, axis, axis)
    np.testing.assert_array_equal(found[np.ix_(axis.places, axis.places)], square)
    assert found.sum() == square.sum()
    assert placed(np.zeros((0, 0)), Axis((), ()), Axis((), ())).shape == (0, 0)
    assert placed(np.array([2, 1], np.int32), Axis((2,), (3,))).dtype == np.int32


@pytest.mark.parametrize("least", [1, 16, 256])
@pytest.mark.parametrize("closer", [room.CLOSER, room.CLOSER_REST])
def test_rooms_are_few_and_not_much_too_large(least, closer):
    sizes = np.arange(1, 400_000, 7)
    rooms = np.array([room_for(int(size), least, closer) for size in sizes])
    assert (rooms >= sizes).all()
    assert (np.diff(rooms) >= 0).all()
    assert (rooms[sizes >= least] < 2 * sizes[sizes >= least]).all()
    for beyond, parts in closer:
        large = sizes > max(beyond, least)
        assert (rooms[large] <= sizes[large] * (1.0 + 1.0 / parts)).all()
    assert len(np.unique(rooms)) < 100


def test_momenta_do_not_depend_on_what_stands_between():
    @tf.function(jit_compile=True)
    def drawn(position, numbers):
        return hmc.momenta(tf.constant([5, -9]), position, numbers)

    for dtype in ("float64", "float32"):
        for q, c in ((1, 1), (7, 1), (8, 1), (7, 2), (8, 2), (5, 3)):
            expected = drawn(np.zeros((q, c), dtype), np.arange(q, dtype=np.int32)).numpy()
            assert len(np.unique(expected)) == q * c
            for size in (q + 1, q + 6, 64):
                places = np.sort(np.random.default_rng(size).permutation(size)[:q])
                numbers = np.full(size, -1, np.int32)
                numbers[places] = np.arange(q)
                found = drawn(np.zeros((size, c), dtype), numbers).numpy()
                np.testing.assert_array_equal(found[places], expected)
                assert np.count_nonzero(found) == q * c


def frame() -> dict[str, np.ndarray]:
    """60 rows: g (10 levels) crossed with h (6 levels), and responses of many kinds."""
    rng = np.random.default_rng(20261130)
    g, h, x = np.arange(60) % 10, np.arange(60) // 10, rng.normal(size=60)
    eta = 0.2 + 0.4 * x + 0.6 * rng.normal(size=10)[g] + 0.4 * rng.normal(size=6)[h]
    mean = np.exp(eta)
    return {
        "g": g,
        "h": h,
        "x": x,
        "number": eta + rng.normal(size=60),
        "positive": mean * rng.gamma(2.0, 0.5, size=60),
        "share": rng.beta(2.0 * mean, 2.0),
        "yes": rng.binomial(1, 1 / (1 + np.exp(-eta))),
        "count": rng.poisson(mean),
        "rank": 1 + np.digitize(eta + rng.logistic(size=60), [-0.7, 1.0]),
        "choice": np.array(list("abc"))[rng.integers(0, 3, 60)],
    }


STRUCTURES = {
    "one term": "(1 | g)",
    "slopes": "(x | g)",
    "crossed": "(1 | h) + (1 | g)",
    "crossed slopes": "(1 | g) + (x || h)",
}
FAMILIES = [
    ("number", "gaussian"),
    ("number", "student"),
    ("positive", "gamma"),
    ("positive", "tweedie"),
    ("share", "beta"),
    ("yes", "bernoulli"),
    ("count", "poisson"),
    ("count", "nbinom2"),
    ("count", "zero_inflated_poisson"),
    ("rank", "cumulative"),
    ("choice", "categorical"),
]
ONE_STRUCTURE = [(*each, "crossed") for each in FAMILIES]
ONE_FAMILY = [("yes", "bernoulli", name) for name in STRUCTURES] + [
    ("choice", "categorical", "crossed slopes"),
    ("number", "gaussian", "slopes"),
]


def problem_of(formula: str | dict[str, str], family: str):
    """The engine's problem at rough parameters, and these."""
    model = lf.compile(lf.design(formula, frame()), family)
    psi = model.space.to_free(model.start)
    if not model.space.has_normal_priors:
        return student_problem(StudentModel(model), psi), psi
    if model.family.is_normal:
        return gaussian_problem(model), psi
    arrays = arrays_of(model, layout(model.stack.terms))
    return laplace_problem(model, arrays, psi, np.eye(len(psi))), psi


def both_ways(problem, psi):
    """Log densities, gradients, scores and effects at positions: with the arrays as they are, and padded."""
    padding, geometry = problem.padding, problem.geometry(psi)
    z = np.random.default_rng(3).normal(size=(len(problem.latents), 2))
    plain = (z, geometry.arrays, problem.data)
    rooms = (among_all(padding, z), padding.arrays(geometry.arrays), padding.data(problem.data))
    for position, arrays, data in (plain, rooms):
        at, position = tf.constant(psi), tf.constant(position)
        arrays, data = tensors_of((arrays, data), "float64")
        value, gradient = problem.density(at, position, arrays, data)
        scores = problem.score(at, position, gradient, arrays, data)
        effects = problem.to_latents(position, arrays, data)
        found = value, gradient, scores.raw, scores.controlled, effects
        together = problem.evaluated(at, position, arrays, data)
        for one, other in zip(tf.nest.flatten(together), found, strict=True):
            np.testing.assert_array_equal(one, other)
        yield found


def check(problem, psi):
    padding = problem.padding
    assert padding.num_latents > len(problem.latents)
    plain, rooms = both_ways(problem, psi)
    for part, (expected, found) in enumerate(zip(plain, rooms, strict=True)):
        expected, found = np.asarray(expected), np.asarray(found)
        if part in (1, 4):
            # What is added has no gradient and no effect.
            assert not found[ranks(padding) < 0].any()
            found = own(padding, found)
        scale = 1.0 + np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=ROUNDING * scale)


@pytest.mark.parametrize(("response", "family", "structure"), ONE_STRUCTURE + ONE_FAMILY)
def test_padded_arrays_say_the_same(response, family, structure):
    check(*problem_of(f"{response} ~ x + {STRUCTURES[structure]}", family))


def test_padded_arrays_say_the_same_where_a_parameter_has_a_formula():
    formulas = {"mu": "count ~ x + (1 | g)", "zi": "~ x + (1 | h)"}
    check(*problem_of(formulas, "zero_inflated_poisson"))


def test_padded_arrays_say_the_same_of_effects_with_heavy_tails():
    check(*problem_of("count ~ x + (1 | gr(g, dist = 'student')) + (1 | h)", "poisson"))
    check(*problem_of("number ~ x + (x | gr(g, dist = 'student'))", "gaussian"))


def test_padded_arrays_say_the_same_where_no_factor_is_dense():
    _, found, problem = start("yes ~ x + (1 | g) + (x | h)")
    check(problem, found.psi)


RUNS = {
    "counts": ("count ~ x + (1 | g) + (1 | h)", "poisson"),
    "own parameters": ("rank ~ x + (1 | g) + (1 | h)", "cumulative"),
    "heavy tails": ("count ~ x + (1 | gr(g, dist = 'student'))", "poisson"),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_fit_does_not_depend_on_its_padding(name, monkeypatch):
    formula, family = RUNS[name]

    def fitted():
        return lf.fit(formula, frame(), family, method="mcem", progress=False, seed=3)

    padded = fitted()
    monkeypatch.setattr(room, "room_for", lambda size, least, closer=None: size)
    plain = fitted()
    # A draw more or less would be seen by a thousandth of a standard error.
    for name, unit in (
        ("param_values", plain.param_stderr),
        ("param_stderr", plain.param_stderr),
        ("param_mc_error", plain.param_mc_error),
    ):
        expected, found = getattr(plain, name), getattr(padded, name)
        known = np.isfinite(unit)
        assert known.sum() >= 3
        assert (np.abs(found - expected)[known] < 1e-6 * unit[known]).all()
    assert padded.loglik.value == pytest.approx(plain.loglik.value, abs=1e-8)


def test_data_of_other_sizes_compile_nothing(monkeypatch):
    monkeypatch.setattr(programs, "_kept", programs.Recent(programs.KEPT))
    data = frame()
    formula = "count ~ x + (1 | g) + (1 | h)"
    for number in (60, 47, 33):
        part = {name: values[:number] for name, values in data.items()}
        lf.fit(formula, part, "poisson", method="mcem", progress=False)
    assert [kept.num_traces for kept in programs._kept if kept.num_traces > 0] == [1]
