"""Trees come back to the bit, in their order in memory; what was changed or is not ours does not come back."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import numpy as np
import pytest

from lmeformula.checkpoint import trees
from lmeformula.checkpoint.trees import DamagedError, digest, read_tree, write_tree
from lmeformula.em.boundary import Held, Try

BASE = np.arange(24.0).reshape(2, 3, 4)
TREES = {
    "nothing": None,
    "plain": (True, 3, "text", [1.5, (2,)], {"a": None}),
    "numbers": (0.1, -0.0, math.inf, 5e-324, np.float64(0.3), np.int64(7), np.float32(0.1)),
    "records": Held(("a",), (("a", Try(0.5, 1, 2)),), 3),
    "empty arrays": (np.zeros(0), np.zeros((0, 3)), np.zeros((2, 0))),
    "kinds": (np.arange(3), np.arange(3, dtype=np.int32), np.array(["a", "bc"]), np.array(2.5)),
}


@pytest.mark.parametrize("name", TREES)
def test_come_back(name: str, tmp_path: Path) -> None:
    write_tree(tmp_path / "a", TREES[name])
    found = read_tree(tmp_path / "a")
    assert digest(found) == digest(TREES[name])
    assert type(found) is type(TREES[name])


@pytest.mark.parametrize(
    "array", [BASE, BASE.T, BASE.transpose(1, 0, 2), BASE[:, ::2], BASE[:, :, 1], BASE[::-1]]
)
def test_arrays_keep_the_order_of_their_axes(array: np.ndarray, tmp_path: Path) -> None:
    write_tree(tmp_path / "a", array)
    found = read_tree(tmp_path / "a")
    assert np.array_equal(found, array)
    by_step = np.argsort([-abs(step) for step in array.strides], kind="stable")
    assert (by_step == np.argsort([-step for step in found.strides], kind="stable")).all()
    assert found.sum(axis=0).tobytes() == array.sum(axis=0).tobytes()


def test_an_array_that_is_there_twice_is_one(tmp_path: Path) -> None:
    array = np.zeros(100_000)
    write_tree(tmp_path / "a", (array, {"again": array}))
    first, second = read_tree(tmp_path / "a")
    assert first is second["again"]
    assert (tmp_path / "a").stat().st_size < 1.1 * array.nbytes


def test_what_was_changed_does_not_come_back(tmp_path: Path) -> None:
    path, where = tmp_path / "a", random.Random(5)
    write_tree(path, (np.linspace(0.0, 1.0, 50), {"x": (1, 2.5, "text")}, Held(("a",))))
    whole = path.read_bytes()
    for number in range(400):
        changed = bytearray(whole)
        changed[where.randrange(len(whole))] ^= 1 << (number % 8)
        path.write_bytes(changed)
        with pytest.raises(DamagedError):
            read_tree(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedError):
            read_tree(path)


class Foreign(NamedTuple):
    x: int


def test_only_records_of_this_package_are_made(tmp_path: Path) -> None:
    write_tree(tmp_path / "a", Foreign(1))
    with pytest.raises(DamagedError, match="no record of this package"):
        read_tree(tmp_path / "a")


@pytest.mark.parametrize("name", ["lmeformula.em.loop:run", "lmeformula.em.problem:np"])
def test_nor_anything_else_in_it(name: str, tmp_path: Path) -> None:
    with mock.patch.object(trees, "_written", return_value={"tuple": ["echo"], "of": name}):
        write_tree(tmp_path / "a", None)
    with pytest.raises(DamagedError, match="no record of this package"):
        read_tree(tmp_path / "a")


def test_arrays_of_objects_are_not_pickled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_tree(tmp_path / "a", np.array([{}], object))
    assert not list(tmp_path.iterdir())


def test_what_has_no_place_in_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_tree(tmp_path / "a", (object(),))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ((1, 2), ((1, 2),)),
        (np.zeros(2), np.zeros((1, 2))),
        (np.zeros(2), np.zeros(2, np.int64)),
        (0.0, -0.0),
        ({"a": 1}, {"a": 2}),
        (("a", "b"), ("ab",)),
    ],
)
def test_digests_tell_trees_apart(one: object, other: object) -> None:
    assert digest(one) != digest(other)


def test_digests_go_by_values_and_not_by_memory() -> None:
    assert digest(BASE[:, ::2]) == digest(BASE[:, ::2].copy())
    many = np.arange(6_000_000.0).reshape(-1, 3)
    assert digest(np.asfortranarray(many)) == digest(many)
