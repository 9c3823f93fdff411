"""Draws of one parameter vector looked at from another: their scores and densities there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.em.programs import Engine, Programs
from lmeformula.em.types import Geometry


class Call(NamedTuple):
    """The positions of one call, padded to the programs' capacity."""

    worker: int
    positions: Any
    num_draws: int


def calls_of(engine: Engine, positions: Floats) -> list[Call]:
    """The calls that positions (m, q, c) make: as many draws at once as a program takes, for each worker."""
    chains = engine.programs.num_chains
    return [
        call
        for worker in range(engine.programs.num_workers)
        for call in calls_of_worker(
            engine, positions[:, :, worker * chains : (worker + 1) * chains], worker
        )
    ]


def calls_of_worker(engine: Engine, positions: Floats, worker: int) -> list[Call]:
    """The calls that positions (m, q, c) of one worker's chains make."""
    found, capacity = [], engine.programs.capacity
    for start in range(0, len(positions), capacity):
        part = positions[start : start + capacity]
        padded = np.zeros((capacity, *part.shape[1:]), engine.programs.dtype)
        padded[: len(part)] = part
        found.append(Call(worker, engine.positions(padded), len(part)))
    return found


def evaluator(
    engine: Engine, at: Floats, geometry: Geometry, coefficients: Floats
) -> Callable[[Call], tuple[Floats, Floats, int]]:
    """What evaluates calls at parameters (d,): scores (m, d, c), log densities (m, c), and the worker."""
    (params, arrays), watched = engine.tensors(at, geometry), engine.watched

    def evaluate(call: Call) -> tuple[Floats, Floats, int]:
        count = tf.constant(call.num_draws)
        found = engine.programs.evaluate(
            params, arrays, call.positions, count, watched, engine.data
        )
        raw = np.asarray(found.raw, float)[: call.num_draws]
        controlled = np.asarray(found.controlled, float)[: call.num_draws]
        scores = raw + coefficients[:, None] * (controlled - raw)
        # |z|^2 / 2 is the same at all parameters, and left out.
        return scores, np.asarray(found.values, float)[: call.num_draws], call.worker

    return evaluate


def together(parts: list[tuple[Floats, Floats, int]], programs: Programs) -> tuple[Floats, Floats]:
    """Calls after one another within a worker, workers side by side: scores (m, d, c) and values (m, c)."""
    scores, values = [], []
    for worker in range(programs.num_workers):
        scores.append(np.concatenate([part[0] for part in parts if part[2] == worker]))
        values.append(np.concatenate([part[1] for part in parts if part[2] == worker]))
    return np.concatenate(scores, axis=2), np.concatenate(values, axis=1)
