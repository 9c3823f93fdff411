"""Known covariances between levels: what is taken, by which names, and what is refused."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import lmeformula as lf
from lmeformula.design.relation import Relation, relation
from lmeformula.errors import FormulaDataError

NAMES = ["a", "b", "c"]
A = np.array([[2.0, 1.0, 0.5], [1.0, 1.5, 0.2], [0.5, 0.2, 1.0]])
ROWS = {"y": [1.0, 2.0, 4.0, 3.0, 2.5, 1.5], "g": ["a", "b", "a", "b", "a", "c"]}
FORMULA = "y ~ 1 + (1 | gr(g, cov = A))"


def given(how: str) -> object:
    """The same covariance in several ways."""
    frame = pd.DataFrame(A, NAMES, NAMES)
    order = [2, 0, 1]
    return {
        "frame": frame,
        "another order": frame.iloc[order, order],
        "columns in another order": frame.iloc[:, order],
        "pair": (A, NAMES),
        "sparse pair": (sp.csr_array(A), NAMES),
        "precision": lf.precision(np.linalg.inv(A), NAMES),
        "labelled precision": lf.precision(pd.DataFrame(np.linalg.inv(A), NAMES, NAMES)),
        "sparse precision": lf.precision(sp.csc_matrix(np.linalg.inv(A)), NAMES),
    }[how]


WAYS = [
    "frame",
    "another order",
    "columns in another order",
    "pair",
    "sparse pair",
    "precision",
    "labelled precision",
    "sparse precision",
]


@pytest.mark.parametrize("way", WAYS)
def test_levels_are_matched_by_name(way):
    made = lf.design(FORMULA, ROWS, covariances={"A": given(way)})
    (term,) = made.terms
    levels = [term.levels[place] for place in term.index]
    assert levels == ROWS["g"]
    root = term.relation.dense_root()
    places = [term.levels.index(name) for name in NAMES]
    np.testing.assert_allclose((root @ root.T)[np.ix_(places, places)], A, atol=1e-12)
    np.testing.assert_allclose(term.relation.variances[places], np.diag(A), rtol=1e-12)


@pytest.mark.parametrize("way", ["frame", "precision"])
def test_a_root_is_a_root(way):
    known = relation("A", given(way))
    effects = np.random.default_rng(0).normal(size=(6, 4))
    dense = np.kron(known.dense_root(), np.eye(2))
    np.testing.assert_allclose(known.outward(effects), dense @ effects, atol=1e-12)
    np.testing.assert_allclose(known.inward(effects), dense.T @ effects, atol=1e-12)
    again = pickle.loads(pickle.dumps(known))
    np.testing.assert_array_equal(again.outward(effects), known.outward(effects))
    if known.is_sparse:
        np.testing.assert_allclose(known.away(known.outward(effects)), effects, atol=1e-12)
        np.testing.assert_allclose(known.away_back(known.inward(effects)), effects, atol=1e-12)
        found = known.precision.toarray()
        np.testing.assert_allclose(found, np.linalg.inv(dense[::2, ::2] @ dense[::2, ::2].T))
        assert known.log_det_precision == pytest.approx(-np.linalg.slogdet(A)[1])


def test_levels_without_rows_stay():
    wider = np.eye(4) + 0.5
    made = lf.design(FORMULA, ROWS, covariances={"A": (wider, ["x", "a", "b", "c"])})
    assert made.terms[0].levels == ("x", "a", "b", "c")
    assert made.terms[0].index.tolist() == [1, 2, 1, 2, 1, 3]


def test_a_singular_covariance_has_a_root():
    one = np.ones((2, 2))
    known = relation("A", (one, ["a", "b"]))
    np.testing.assert_allclose(known.root @ known.root.T, one, atol=1e-12)


@pytest.mark.parametrize("levels", [[1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"]])
def test_numbers_are_levels(levels):
    rows = {"y": ROWS["y"], "g": [1, 2, 1, 2, 1, 3]}
    made = lf.design(FORMULA, rows, covariances={"A": (A, levels)})
    assert made.terms[0].levels == ("1", "2", "3")


NOT_ONE = {
    "nothing": ({}, "the formula uses the covariance 'A', which is not given"),
    "another name": ({"A": (A, NAMES), "B": (A, NAMES)}, "covariances has 'B', which the formula"),
    "no names": ({"A": A}, "the covariance 'A' has no names of levels: it is a ndarray"),
    "a sparse matrix": ({"A": sp.eye_array(3)}, "a sparse matrix, which has no names of levels"),
    "too few names": ({"A": (A, ["a", "b"])}, "has 3 rows, and 2 names of levels"),
    "a name twice": ({"A": (A, ["a", "b", "b"])}, "has the level 'b' more than once"),
    "not square": ({"A": (A[:2], ["a", "b"])}, "is not a square matrix: its shape is (2, 3)"),
    "not symmetric": ({"A": (np.triu(A), NAMES)}, "is not symmetric: 1 against 0 in rows 1 and 2"),
    "not positive": (
        {"A": (A - 2.0 * np.eye(3), NAMES)},
        "is no covariance: its least eigenvalue is",
    ),
    "not finite": ({"A": (A * np.nan, NAMES)}, "has elements that are not finite"),
    "text": ({"A": (np.full((3, 3), "x"), NAMES)}, "is not a matrix of numbers"),
    "other columns": (
        {"A": pd.DataFrame(A, NAMES, ["a", "b", "d"])},
        "whose rows and columns have other names",
    ),
    "levels that it lacks": (
        {"A": (A[:2, :2], ["a", "b"])},
        "the covariance 'A' lacks 1 of the 3 levels in the data: c",
    ),
}


@pytest.mark.parametrize("case", NOT_ONE)
def test_what_is_no_covariance_is_refused(case):
    covariances, said = NOT_ONE[case]
    with pytest.raises(FormulaDataError) as caught:
        lf.design(FORMULA, ROWS, covariances=covariances)
    assert said in str(caught.value)


NO_PRECISION = {
    "singular": (np.ones((2, 2)), ["a", "b"], "is not positive definite"),
    "not symmetric": (np.array([[1.0, 0.5], [0.0, 1.0]]), ["a", "b"], "is not symmetric"),
    "indefinite": (np.array([[1.0, 2.0], [2.0, 1.0]]), ["a", "b"], "is not positive definite"),
    "no names": (np.eye(2), None, "has no names of levels"),
}


@pytest.mark.parametrize("case", NO_PRECISION)
def test_what_is_no_precision_is_refused(case):
    matrix, levels, said = NO_PRECISION[case]
    with pytest.raises(FormulaDataError, match=said):
        lf.precision(matrix, levels)


@pytest.mark.parametrize("written", ["gr(cov = A, g)", 'gr(g, cov = "A")', "gr(g, cov = A)"])
def test_ways_to_write_it(written):
    parsed = lf.parse(f"y ~ 1 + (1 | {written})")
    assert str(parsed) == "y ~ 1 + (1 | gr(g, cov = A))"


@pytest.mark.parametrize("word", ["covariance", "cov_ranef", "vcov"])
def test_other_words_are_answered(word):
    with pytest.raises(lf.FormulaSyntaxError, match=r"Write gr\(g, cov = A\)"):
        lf.parse(f"y ~ 1 + (1 | gr(g, {word} = A))")


def test_what_cannot_be_fitted_is_refused_by_name():
    made = lf.design("y ~ 1 + (1 | gr(g, id = g))", ROWS, covariances={"A": (A, NAMES)})
    assert made.reserved == ("gr(g, id = g)",)


def test_words_of_other_packages_are_answered():
    for name in ("cov_ranef", "data2", "pedigree", "ginverse"):
        with pytest.raises(lf.ArgumentError, match="covariances="):
            lf.fit(FORMULA, ROWS, **{name: {"A": (A, NAMES)}})


def test_new_rows_of_levels_that_the_covariance_lacks_are_refused():
    made = lf.design(FORMULA, ROWS, covariances={"A": (A, NAMES)})
    rows = made.rebuild({"g": ["c", "a"]})
    assert rows.terms[0].index.tolist() == [2, 0]
    assert isinstance(rows.terms[0].relation, Relation)
    with pytest.raises(FormulaDataError, match="that the covariance 'A' does not have: d"):
        made.rebuild({"g": ["d"]})
