"""A likelihood that remembers: recalled evaluations leave it, and give, what they would have done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmeformula.checkpoint import journal
from lmeformula.checkpoint.journal import Journal, kept_in
from lmeformula.errors import CheckpointError
from lmeformula.likelihood.evaluation import Evaluation
from lmeformula.likelihood.resumable import Resumable

PLACES = [np.array([x]) for x in (0.3, 0.9, -2.0, 0.7, 0.8)]


class Fake:
    """Its last bits depend on all evaluations before; below -1 it is nowhere, which it remembers too."""

    def __init__(self) -> None:
        self.held: Any = (0.0, ())
        self.num_evaluations = 0

    def noted(self, before: Any) -> Any:
        # Without the second part, which no evaluation needs.
        return before[0], None

    def evaluate(self, coordinates: np.ndarray) -> Evaluation:
        self.num_evaluations += 1
        x, total = float(coordinates[0]), self.held[0]
        value = -np.inf if x < -1.0 else -(x**2) + 1e-9 * total
        self.held = total + x, (x,)
        at = np.array([-2.0 * x + 1e-9 * total])
        return Evaluation(coordinates, value, at, np.eye(1), (), {"total": total})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "EVERY", 0.0)
    monkeypatch.setattr(journal, "SHARE", 1e9)


def run(fake: Fake, count: int, folder: Path | None) -> list[Evaluation]:
    with kept_in(None if folder is None else Journal(folder)):
        likelihood = Resumable(fake.evaluate, fake)
        found = [likelihood(place) for place in PLACES[:count]]
        [point.detail for point in found]
        likelihood.catch_up()
    return found


@pytest.mark.parametrize("before", range(len(PLACES) + 1))
def test_it_goes_on_to_the_same_bits(before: int, tmp_path: Path) -> None:
    whole, again = Fake(), Fake()
    expected = run(whole, len(PLACES), None)
    run(Fake(), before, tmp_path)
    found = run(again, len(PLACES), tmp_path)
    for one, other in zip(found, expected, strict=True):
        assert (one.value, one.score, one.detail) == (other.value, other.score, other.detail)
    assert again.held == whole.held


def test_what_nobody_asks_for_is_not_worked_out(tmp_path: Path) -> None:
    run(Fake(), 4, tmp_path)
    fake = Fake()
    with kept_in(Journal(tmp_path)):
        likelihood = Resumable(fake.evaluate, fake)
        points = [likelihood(place) for place in PLACES[:4]]
        assert fake.num_evaluations == 0
        assert points[1].is_worked_out
        assert points[1].detail is points[1].detail
        # That one, and the last one, from where the next would go on.
        assert fake.num_evaluations == 2
        likelihood(PLACES[4])
        assert fake.num_evaluations == 3


def test_after_a_place_that_is_nowhere_both_are_done_again(tmp_path: Path) -> None:
    run(Fake(), 3, tmp_path)
    fake = Fake()
    with kept_in(Journal(tmp_path)):
        likelihood = Resumable(fake.evaluate, fake)
        for place in PLACES[:4]:
            likelihood(place)
    assert fake.num_evaluations == 3


def test_another_last_bit_is_refused(tmp_path: Path) -> None:
    run(Fake(), 2, tmp_path)
    fake = Fake()
    evaluate = fake.evaluate

    def other(coordinates: np.ndarray) -> Evaluation:
        point = evaluate(coordinates)
        return point._replace(score=np.nextafter(point.score, 0.0))

    with kept_in(Journal(tmp_path)):
        likelihood = Resumable(other, fake)
        for place in PLACES[:2]:
            likelihood(place)
        with pytest.raises(CheckpointError, match="does not come to the bits"):
            likelihood(PLACES[2])


def test_an_evaluation_that_fails_fails_again(tmp_path: Path) -> None:
    calls = 0

    def fail(coordinates: np.ndarray) -> Evaluation:
        nonlocal calls
        calls += 1
        raise np.linalg.LinAlgError("singular")

    for _ in range(2):
        with kept_in(Journal(tmp_path)), pytest.raises(np.linalg.LinAlgError, match="singular"):
            Resumable(fail)(PLACES[0])
    assert calls == 1
