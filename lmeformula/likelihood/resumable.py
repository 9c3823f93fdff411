"""Evaluations of a likelihood that a fit which was killed, and goes on, does not do again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.checkpoint.journal import EVALUATION, Failure, Journal, current
from lmeformula.checkpoint.memory import Memory, Nothing
from lmeformula.checkpoint.trees import Tree, digest
from lmeformula.errors import CheckpointError
from lmeformula.likelihood.evaluation import Evaluation
from lmeformula.watch import EVALUATIONS, step_of

Evaluate = Callable[[Floats], Evaluation]


class Noted(NamedTuple):
    """What the journal keeps of an evaluation: its numbers, and what it began from.

    Attributes:
      value, score, information, slopes: as of `Evaluation`.
      is_worked_out: whether it had a detail.
      before: see `Memory.noted`.
    """

    value: float
    score: Floats
    information: Floats
    slopes: tuple[Floats, ...]
    is_worked_out: bool
    before: Tree

    @classmethod
    def of(cls, point: Evaluation, before: Tree) -> Noted:
        """That of an evaluation."""
        numbers = point.value, point.score, point.information, point.slopes
        return cls(*numbers, point.is_worked_out, before)

    @property
    def numbers(self) -> str:
        """A digest of the numbers."""
        return digest(tuple(self._replace(before=None)))


class Resumable:
    """A likelihood whose evaluations are recalled as far as the journal of the fit has them.

    One that is recalled leaves no trace in what the likelihood remembers. So before the first that is not,
    those at the end of the journal are done again, each from what was remembered then: that leaves all as it
    was, and shows that this machine comes to the same bits.

    Args:
      evaluate: coordinates -> Evaluation.
      memory: of the likelihood.
    """

    def __init__(self, evaluate: Evaluate, memory: Memory | None = None) -> None:
        self._evaluate = evaluate
        self._memory: Memory = Nothing() if memory is None else memory
        # The last evaluation of a finite value that was recalled, and those after it.
        self._behind: list[_Again] = []

    def __call__(self, coordinates: Floats) -> Evaluation:
        """The likelihood there, evaluated or recalled."""
        step_of(EVALUATIONS)
        journal = current()
        if journal is None:
            return self._evaluate(coordinates)
        noted = journal.recall(EVALUATION, coordinates)
        if noted is None:
            self.catch_up()
            return self._entered(journal, coordinates)
        if isinstance(noted, Failure):
            raise np.linalg.LinAlgError(noted.words)
        if np.isfinite(noted.value):
            self._behind = []
        again = _Again(self, coordinates, noted)
        self._behind.append(again)
        worked = again if noted.is_worked_out else None
        return Evaluation(
            coordinates, noted.value, noted.score, noted.information, noted.slopes, worked
        )

    def catch_up(self) -> None:
        """Remember what the evaluations that were recalled would have left."""
        behind, self._behind = self._behind, []
        for one in behind:
            one.work_out()

    def _entered(self, journal: Journal, coordinates: Floats) -> Evaluation:
        before = self._memory.held
        try:
            point = self._evaluate(coordinates)
        except np.linalg.LinAlgError as error:
            journal.keep(EVALUATION, coordinates, Failure(str(error)))
            raise
        journal.keep(EVALUATION, coordinates, Noted.of(point, self._memory.noted(before)))
        return point


class _Again:
    """An evaluation that was recalled, and can be done again; see `Recalled`."""

    def __init__(self, of: Resumable, coordinates: Floats, noted: Noted) -> None:
        self._of, self._coordinates, self._noted = of, coordinates, noted
        self._point: Evaluation | None = None

    def detail(self) -> Any:
        """Its detail; what the likelihood remembers stays as it is."""
        self._of.catch_up()
        if self._point is None:
            held = self._of._memory.held
            self.work_out()
            self._of._memory.held = held
        assert self._point is not None
        return self._point.detail

    def work_out(self) -> None:
        """Do it again.

        Raises:
          CheckpointError: if it does not come to the same bits.
        """
        memory = self._of._memory
        memory.held = self._noted.before
        self._point = self._of._evaluate(self._coordinates)
        if Noted.of(self._point, None).numbers != self._noted.numbers:
            raise CheckpointError(
                "an evaluation of the likelihood does not come to the bits that the checkpoint has",
                hint="It was made on another kind of processor, or with other libraries: remove the folder.",
            )
