"""Covariances with the same distribution of the responses: which they are, and which one stands for all."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.algebra.crossproducts import layout
from lmeformula.design import design
from lmeformula.likelihood.confounded import LEAST, alike
from lmeformula.model.compile import Model, compile

CODINGS = [None, "sum", "helmert", "poly"]


def nested(formula: str, contrasts: str | None = None) -> Model:
    """Twelve groups of four rows, each within one of three levels of a; two more factors cross them."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(12), 4)
    data = {
        "y": rng.normal(size=48),
        "g": g,
        "h": np.tile(np.arange(4), 12),
        "a": np.array(list("uvw"))[g % 3],
        "b": np.array(list("rs"))[np.arange(48) % 2],
        "x": rng.normal(size=48),
        "year": 2000.0 + g,
    }
    given = {} if contrasts is None else {"contrasts": {"a": contrasts}}
    return compile(design(formula, data, **given))


def variances(model: Model, covariances: tuple[np.ndarray, ...]) -> np.ndarray:
    """(n, n) V, densely."""
    plan = layout(model.design.terms)
    return sum(
        matrix.toarray() @ np.kron(np.eye(levels), sigma) @ matrix.toarray().T
        for matrix, (levels, _), sigma in zip(plan.matrices, plan.sizes, covariances, strict=True)
    )


def of_full_rank(k: int) -> np.ndarray:
    factor = np.random.default_rng(k).normal(size=(k, k))
    return factor @ factor.T


# formula, covariances that were found, which parameters the rows do not tell apart
LEVEL = [
    ("y ~ 1 + (0 + a | g)", [np.ones((3, 3))], [0, 0, 0, 1, 1, 1]),
    ("y ~ 1 + (0 + a | g)", [np.diag([1.0, 2.0, 0.0])], [0, 0, 0, 1, 0, 0]),
    ("y ~ 1 + (0 + a | g)", [of_full_rank(3)], [0, 0, 0, 1, 1, 1]),
    ("y ~ 1 + (1 + b | g) + (1 | h)", [of_full_rank(2), np.eye(1)], None),
    ("y ~ 1 + (1 + x | g)", [of_full_rank(2)], None),
    # A column that is constant within groups: of what is singular, nothing else fits.
    ("y ~ 1 + (1 + year | g)", [of_full_rank(2)], None),
    ("y ~ 1 + (1 | g) + (0 + a | g)", [np.eye(1), np.eye(3)], [1, 1, 1, 1, 1, 1, 1]),
    ("y ~ 1 + (1 | g) + (0 + a | g)", [np.zeros((1, 1)), np.diag([1.0, 1.0, 1.0])], [1] * 7),
    ("y ~ 1 + (1 | g) + diag(0 + a | g)", [np.zeros((1, 1)), np.eye(3)], [1] * 4),
    ("y ~ 1 + (1 | g) + diag(0 + a | g)", [np.zeros((1, 1)), np.diag([1.0, 1.0, 0.0])], None),
    ("y ~ 1 + cs(0 + a | g)", [np.ones((3, 3))], [0, 0, 0, 1]),
    ("y ~ 1 + cs(0 + a | g)", [np.eye(3)], [0, 0, 0, 1]),
    ("y ~ 1 + homcs(0 + a | g)", [1.5 * np.eye(3) - 0.5], [0, 1]),
    ("y ~ 1 + ar1(0 + a | g)", [np.ones((3, 3))], [0, 1]),
    ("y ~ 1 + toep(0 + a | g)", [np.ones((3, 3))], [0, 0, 0, 1, 1]),
    ("y ~ 1 + homtoep(0 + a | g) + (1 | h)", [np.eye(3), np.eye(1)], [0, 1, 1, 0]),
    ("y ~ 1 + homcs(0 + a | g)", [np.zeros((3, 3))], None),
    ("y ~ 1 + cs(0 + b | g)", [np.ones((2, 2))], None),
    ("y ~ 1 + cs(1 + x | g)", [of_full_rank(2)], None),
    ("y ~ 1 + ar1(0 + b | g)", [np.ones((2, 2))], None),
    ("y ~ 1 + ar1(0 + b | h)", [np.ones((2, 2))], [0, 1]),
    ("y ~ 1 + (1 | g)", [np.zeros((1, 1))], None),
]


@pytest.mark.parametrize(("formula", "found", "undetermined"), LEVEL)
def test_what_rows_do_not_tell_apart(formula, found, undetermined):
    model = nested(formula)
    other = alike(layout(model.design.terms), model.space, tuple(found))
    if undetermined is None:
        assert other is None
        return
    assert other.undetermined.astype(int).tolist() == undetermined
    np.testing.assert_allclose(
        variances(model, other.covariances), variances(model, tuple(found)), atol=1e-9
    )
    assert all(np.linalg.eigvalsh(each)[0] > -1e-9 for each in other.covariances)


@pytest.mark.parametrize(
    ("formula", "undetermined"),
    [
        ("y ~ 1 + toep(0 + a | g)", [0, 0, 0, 0, 1]),
        ("y ~ 1 + ar1(0 + a | g)", None),
        ("y ~ 1 + (0 + a | g)", [0, 0, 0, 0, 1, 0]),
    ],
)
def test_steps_that_no_group_sees(formula, undetermined):
    """Groups with the first two of three visits, and with the last two: none has two steps between."""
    g = np.repeat(np.arange(10), 4)
    a = np.array([list("uv"), list("vw")])[g % 2, np.arange(40) % 2]
    model = compile(design(formula, {"y": np.arange(40.0) % 7, "g": g, "a": a}))
    plan, given = layout(model.design.terms), (0.5 * (np.eye(3) + 1.0),)
    other = alike(plan, model.space, given)
    if undetermined is None:
        assert other is None
        return
    assert other.undetermined.astype(int).tolist() == undetermined
    np.testing.assert_allclose(
        variances(model, other.covariances), variances(model, given), atol=1e-9
    )


@pytest.mark.parametrize("coding", CODINGS[1:])
def test_the_one_that_stands_for_all_does_not_hang_on_the_coding(coding):
    one, other = nested("y ~ 1 + (1 + a | g)"), nested("y ~ 1 + (1 + a | g)", coding)
    # The same covariance of cells, of which the first has none.
    cells = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 0.9], [0.0, 0.9, 2.0]])
    both = []
    for model in (one, other):
        columns = np.unique(model.design.terms[0].values, axis=0, return_index=True)[1]
        back = np.linalg.inv(model.design.terms[0].values[np.sort(columns)])
        found = alike(layout(model.design.terms), model.space, (back @ cells @ back.T,))
        inverse = np.linalg.inv(back)
        both.append(inverse @ found.covariances[0] @ inverse.T)
    # Newton's equations have one over what a variance of zero counts as: rounding is so much of them.
    rounding = 2.0 * np.finfo(float).eps / LEAST
    np.testing.assert_allclose(both[0], both[1], atol=rounding)
    np.testing.assert_allclose(both[0], np.diag([0.0, 1.0, 2.0]), atol=rounding)


def test_contrasts_tell_less():
    """A group for each pair of rows, and as many fixed effects: of contrasts within groups g is no part."""
    data = {
        "y": np.random.default_rng(0).normal(size=24),
        "g": np.repeat(np.arange(12), 2),
        "h": np.tile(np.arange(2), 12),
    }
    model = compile(design("y ~ 0 + factor(g) + (1 | g) + (1 | h)", data))
    plan, found = layout(model.design.terms), (np.zeros((1, 1)), np.eye(1))
    assert alike(plan, model.space, found) is None
    # A variance that no contrast has: it may be anything.
    other = alike(plan, model.space, found, model.design.X)
    assert other.undetermined.tolist() == [True, False]
    assert other.covariances[1] == pytest.approx(np.eye(1))
