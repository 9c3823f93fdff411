"""Chains of Monte Carlo EM that walk with the workers of a cluster, each of which has all rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lmeformula.arrays import Floats
from lmeformula.design.absent import has_rows
from lmeformula.em.types import Options, Problem
from lmeformula.errors import ModelError
from lmeformula.model.compile import Model
from lmeformula.rows.machine import GIB
from lmeformula.rows.parts import Part, made_of
from lmeformula.rows.workers import Workers

# What a worker has of the rows at once, in sizes of the design: as they came, as its programs take them, and
# beside both what is worked out of them.
COPIES = 3.0
READ_HERE = "cluster=False reads the rows into this process, where all chains walk."


class Chains:
    """Where the chains of a fit walk: all draws, and what is worked out at them, are the workers'.

    The start, the geometry at each parameter vector and all sums over draws are this process's. Random numbers
    hang on the number of the chains' worker alone: over two workers the answer is that of one process.

    Args:
      model: with shards, and its rows here.
    Raises:
      ModelError: if rows are not here, effects are not normal, or a worker has no memory for all rows.
    """

    def __init__(self, model: Model) -> None:
        design = model.design
        if not has_rows(design):
            raise ModelError(
                "Monte Carlo EM over workers needs all rows at each of them, and those of a Dask data frame "
                "are spread over them",
                hint='method="laplace" runs where the rows are. Give the rows, if each worker can hold them: '
                'lf.fit(formula, frame.compute(), cluster=client, method="mcem"). ' + READ_HERE,
            )
        if not model.space.has_normal_priors:
            raise ModelError(
                "effects by Student's t distribution are not fitted over the workers of a cluster",
                hint=READ_HERE,
            )
        assert design.shards is not None
        workers = made_of(design.shards.parts)
        assert isinstance(workers, Workers)
        self._workers = workers
        self._memory = workers.memory()
        self._check(model)
        self._parts: Workers | None = None
        self._arrays: Any = None
        self._said: tuple[str, ...] = ()
        self._count = max(2, len(self._memory))

    def options(self, options: Options) -> Options:
        """With as many chains for one worker as for another."""
        return options._replace(num_chains=-(-options.num_chains // self._count) * self._count)

    def walking(self, model: Model, problem: Problem) -> Problem:
        """A model's problem whose chains walk with the workers."""
        self._close()
        bare = replace(model.design, recipe=None, shards=None)
        self._parts = self._workers.copies(replace(model, design=bare), self._count, bare.n)
        parts, self._arrays = self._parts, None
        is_made = False

        def walk(engine: Any, asked: Any, chains: list[tuple[Floats, float]]) -> list[Any]:
            nonlocal is_made
            if not is_made:
                given = (engine.options, engine.programs.dtype, engine.seed, self._count)
                parts.keep("engine", _engine, *given)
                is_made = True
            if asked.arrays is not self._arrays:
                # Further draws at the same parameters need nothing more.
                parts.keep("arrays", _held, asked.arrays)
                self._arrays = asked.arrays
            numbers = list(range(self._count))
            return parts.ask(
                _walk,
                asked._replace(arrays=()),
                each=[numbers, [at for at, _ in chains], [size for _, size in chains]],
            )

        return problem._replace(num_workers=self._count, walk=walk)

    def report(self) -> tuple[str, ...]:
        """What happened, in words."""
        self._close()
        where = (
            f"the chains walked with {len(self._memory)} workers of a cluster, each with all rows"
        )
        return (where, *self._said)

    def _close(self) -> None:
        if self._parts is not None:
            self._said = tuple(dict.fromkeys([*self._said, *self._parts.report()]))
            self._parts.close()
            self._parts = None

    def _check(self, model: Model) -> None:
        needed = COPIES * _bytes(model)
        for place, memory in self._memory.items():
            if memory and needed > memory:
                raise ModelError(
                    f"each worker takes about {needed / GIB:,.1f} GiB to hold all rows, and {place} has "
                    f"{memory / GIB:,.1f} GiB",
                    hint="Take workers with more memory: Monte Carlo EM does not spread rows over them. "
                    + READ_HERE,
                )


def without_workers(model: Model) -> Model:
    """The same model with its rows here alone."""
    return replace(model, design=replace(model.design, shards=None))


def _bytes(model: Model) -> float:
    """What the arrays of a model take, and those of its geometry that are as long."""
    stack, size = model.stack, model.space.size
    arrays = [stack.X, *(part for term in stack.terms for part in (term.values, term.index))]
    # The predictor, its weight and two bends for each parameter, see `sampling.whitened.Whitening`.
    return float(
        sum(np.asarray(each).nbytes for each in arrays) + 8.0 * len(stack.X) * (3 + 2 * size)
    )


def _engine(
    part: Part, options: Options, dtype: str, seed: int, num_workers: int
) -> tuple[Any, None]:
    from lmeformula.startup import import_tensorflow

    import_tensorflow()
    from lmeformula.em.programs import engine_of
    from lmeformula.sampling.laplace import blank_problem

    problem, _ = blank_problem(part.rows)
    return engine_of(problem._replace(num_workers=num_workers), options, dtype, seed), None


def _held(part: Part, value: Any) -> tuple[Any, None]:
    return value, None


def _walk(part: Part, asked: Any, worker: int, positions: Floats, step_size: float) -> Any:
    from lmeformula.em.draws import walk_on

    asked = asked._replace(arrays=part.held["arrays"])
    return walk_on(part.held["engine"], asked, worker, positions, step_size)
