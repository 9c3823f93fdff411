"""The record of fits that a rebuilding must not move: it notices what moves, and nothing else."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from pinned import record
from pinned.cases import CALLS, REFUSED
from pinned.differences import differences


@pytest.fixture(scope="module")
def before():
    fits = {name: record.of(CALLS[name]) for name in ("double bar", "singular")}
    return {"fits": fits, "refused": {"syntax": record.refusal(REFUSED["syntax"])}}


def test_a_second_record_is_the_same(before):
    again = {name: record.of(CALLS[name]) for name in before["fits"]}
    found = differences(before, {"fits": again, "refused": before["refused"]})
    assert [each for each in found if each.kind != "slower"] == []


def _numbers(after, share):
    numbers = after["fits"]["singular"]["numbers"]["estimates"]
    numbers[:] = [(float.fromhex(value) * (1.0 + share)).hex() for value in numbers]


def _permuted(after, _):
    after["fits"]["singular"]["numbers"]["residuals"].reverse()


def _text(after, _):
    after["fits"]["singular"]["texts"]["summary"] += "\none line more"


def _gone(after, _):
    del after["fits"]["singular"]


def _late(after, _):
    after["fits"]["singular"]["seconds"] += 100.0


def _answered(after, _):
    after["refused"]["syntax"] = "not refused"


@pytest.mark.parametrize(
    ("change", "share", "kind"),
    [
        (_numbers, 1e-12, "rounding"),
        (_numbers, 1e-5, "moved"),
        (_numbers, float("nan"), "moved"),
        (_permuted, 0.0, "moved"),
        (_text, 0.0, "text"),
        (_gone, 0.0, "gone"),
        (_late, 0.0, "slower"),
        (_answered, 0.0, "text"),
    ],
)
def test_what_changes_is_named(before, change, share, kind):
    after = copy.deepcopy(before)
    change(after, share)
    assert [each.kind for each in differences(before, after)] == [kind]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_calls_are_refused(name):
    assert record.refusal(REFUSED[name]) != "not refused"
