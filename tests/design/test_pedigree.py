"""Pedigrees: their inverse against the tabular method, and what is wrong with some."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import lmeformula as lf
from lmeformula.errors import FormulaDataError

# Mrode (2014), Linear Models for the Prediction of Animal Breeding Values, 3rd ed., example 2.1, with its A.
MRODE = pd.DataFrame(
    {"id": [3, 4, 5, 6], "sire": [1, 1, 4, 5], "dam": [2, np.nan, 3, 2]}, dtype="Int64"
)
RELATIONSHIPS = np.array(
    [
        [1.0, 0.0, 0.5, 0.5, 0.5, 0.25],
        [0.0, 1.0, 0.5, 0.0, 0.25, 0.625],
        [0.5, 0.5, 1.0, 0.25, 0.625, 0.5625],
        [0.5, 0.0, 0.25, 1.0, 0.625, 0.3125],
        [0.5, 0.25, 0.625, 0.625, 1.125, 0.6875],
        [0.25, 0.625, 0.5625, 0.3125, 0.6875, 1.125],
    ]
)


def tabular(frame: pd.DataFrame) -> np.ndarray:
    """A of rows in the order of birth, row by row (Emik, Terrill 1949)."""
    places = {name: place for place, name in enumerate(frame["id"])}
    A = np.zeros((len(frame), len(frame)))
    for i, (_, *parents) in enumerate(frame.itertuples(index=False)):
        known = [places[parent] for parent in parents if parent in places]
        A[i] = A[:, i] = sum((0.5 * A[parent] for parent in known), np.zeros(len(frame)))
        A[i, i] = 1.0 + (0.5 * A[known[0], known[1]] if len(known) == 2 else 0.0)
    return A


def born(seed: int, founders: int = 12, generations: int = 5, size: int = 25) -> pd.DataFrame:
    """Animals of several generations with few fathers, some of whose parents are not known."""
    r = np.random.default_rng(seed)
    rows = [(f"f{i}", None, None) for i in range(founders)]
    for generation in range(generations):
        before = [row[0] for row in rows[-(size if generation else founders) :]]
        rows += [
            (
                f"g{generation}n{i}",
                r.choice(before[:3]) if r.random() < 0.9 else None,
                r.choice(before[3:]) if r.random() < 0.9 else None,
            )
            for i in range(size)
        ]
    return pd.DataFrame(rows, columns=["id", "sire", "dam"])


def test_a_published_pedigree():
    found = lf.pedigree(MRODE)
    assert found.levels == ("1", "2", "3", "4", "5", "6")
    np.testing.assert_allclose(np.linalg.inv(found.matrix.toarray()), RELATIONSHIPS, atol=1e-12)
    np.testing.assert_allclose(found.inbreeding, np.diag(RELATIONSHIPS) - 1.0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_inverse_is_that_of_the_tabular_method_in_any_order(seed):
    frame = born(seed)
    shuffled = frame.sample(frac=1.0, random_state=seed)
    found = lf.pedigree(shuffled)
    A = tabular(frame)
    places = [found.levels.index(name) for name in frame["id"]]
    own = found.matrix.toarray()[np.ix_(places, places)]
    np.testing.assert_allclose(own, np.linalg.inv(A), atol=1e-10)
    np.testing.assert_allclose(found.inbreeding[places], np.diag(A) - 1.0, atol=1e-12)
    assert found.inbreeding.max() > 0.1
    # A parent has elements with its offspring and their other parents alone.
    assert found.matrix.nnz < 9 * len(frame)


def test_selfing_doubles_the_relationship():
    found = lf.pedigree({"id": ["b", "c"], "sire": ["a", "b"], "dam": ["a", "b"]})
    np.testing.assert_allclose(found.inbreeding, [0.0, 0.5, 0.75])
    np.testing.assert_allclose(np.linalg.inv(found.matrix.toarray())[0, 1:], [1.0, 1.0])


@pytest.mark.parametrize("missing", [None, np.nan, "", "0", "NA"])
def test_parents_that_are_not_known(missing):
    found = lf.pedigree(
        pd.DataFrame({"id": ["a", "b"], "sire": [missing, "a"], "dam": [missing] * 2})
    )
    assert found.levels == ("a", "b")
    np.testing.assert_allclose(found.matrix.toarray(), [[4 / 3, -2 / 3], [-2 / 3, 4 / 3]])


def test_columns_may_have_other_names():
    frame = MRODE.rename(columns={"id": "calf", "sire": "bull", "dam": "cow"})
    found = lf.pedigree(frame, id="calf", sire="bull", dam="cow")
    assert len(found.levels) == 6
    assert repr(found) == "Precision of 6 levels, 26 elements"


WRONG = {
    "no column": ({"id": [1], "sire": [2]}, "the pedigree has no column 'dam'"),
    "no name": ({"id": ["a", None], "sire": ["c", "c"], "dam": ["d", "d"]}, "no name in row 2"),
    "twice": (
        {"id": ["a", "a"], "sire": ["c", "c"], "dam": ["d", "d"]},
        "'a' in more than one row",
    ),
    "itself": ({"id": ["a"], "sire": ["a"], "dam": ["b"]}, "'a' has the parent 'a'"),
    "a loop": (
        {"id": ["a", "b", "c"], "sire": ["b", "c", "a"], "dam": ["d", "d", "d"]},
        "'a' has the parent 'b' has the parent 'c' has the parent 'a'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_pedigree_is_refused(case):
    rows, said = WRONG[case]
    with pytest.raises(FormulaDataError) as caught:
        lf.pedigree(rows)
    assert said in str(caught.value)
