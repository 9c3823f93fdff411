"""Compiled programs, kept for the next fit of the same structure and shapes, or compiled before it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lmeformula.arrays import Floats
from lmeformula.em.cached_program import Kept
from lmeformula.em.estep import hmc
from lmeformula.em.estep.sampler import Control, build_evaluate, build_walk
from lmeformula.em.padding import among_all, padding_of, ranks
from lmeformula.em.recent import Recent
from lmeformula.em.types import Geometry, Options, Padding, Problem

# Programs of this many structures are kept, those used last: each holds some 25 MiB of graph and code.
KEPT = 16
# Draws of one call: as many as this many numbers hold, within limits.
CALL_NUMBERS = 1_000_000
LEAST_CAPACITY, MOST_CAPACITY = 16, 512
# Where the structure is known, half of the chains run on a thread of their own.
NUM_WORKERS = 2
# Latents are watched in multiples of so many.
WATCHED = 8


class Programs(NamedTuple):
    """The E-step of a problem, compiled for its shapes.

    Attributes:
      walk: see `build_walk`.
      evaluate: see `build_evaluate`.
      capacity: most draws of one call.
      num_workers: how many calls run at the same time, each with its own chains.
      num_chains: chains of each worker.
      dtype: of all floating arrays.
    """

    walk: Kept
    evaluate: Kept
    capacity: int
    num_workers: int
    num_chains: int
    dtype: str

    @property
    def num_traces(self) -> int:
        """How often the program that draws was traced, over all fits that used it."""
        return self.walk.num_traces

    def trace(self, control: Control, chain: hmc.Chain, watched: Any, data: Any) -> None:
        """Trace both programs for arguments of these shapes, if they have not been traced yet.

        That is in one order: names in a program tell it apart in the cache that other processes share.
        """
        if self.num_traces == 0:
            size, count = tf.TensorSpec([], self.dtype), tf.TensorSpec([], tf.int32)
            walk = self.walk.trace(control, chain, size, data)
            self.evaluate.trace(
                control.params, control.arrays, walk.positions, count, watched, data
            )


class Engine(NamedTuple):
    """A problem that can be run: what stays the same from one parameter vector to the next.

    Attributes:
      problem: the problem.
      programs: of the problem.
      options: of the run.
      padding: how the problem's arrays are brought to the programs' shapes.
      data: the problem's, padded, as tensors.
      seed: of all random numbers.
    """

    problem: Problem
    programs: Programs
    options: Options
    padding: Padding
    data: Any
    seed: int

    @property
    def at_once(self) -> int:
        """Draws that are made with one seed: of the problem's own size, whatever the programs'."""
        return capacity_of(len(self.problem.latents) * self.programs.num_chains)

    @property
    def watched(self) -> Any:
        """Places of the watched latents, as the programs take them."""
        return _watched(self.padding.latents[list(self.options.watched)])

    def tensors(self, params: Floats, geometry: Geometry) -> tuple[Any, Any]:
        """Parameters (d,) and the arrays of the geometry there, as the programs take them."""
        dtype = self.programs.dtype
        return tf.constant(params, dtype), tensors_of(self.padding.arrays(geometry.arrays), dtype)

    def positions(self, positions: Floats) -> Any:
        """Positions (..., q, c) as the programs take them."""
        return tf.constant(among_all(self.padding, positions), self.programs.dtype)


def engine_of(problem: Problem, options: Options, dtype: str, seed: int) -> Engine:
    """A problem with its programs and its data; see `programs`."""
    padding = padding_of(problem)
    data = tensors_of(padding.data(problem.data), dtype)
    return Engine(problem, programs(problem, options, dtype), options, padding, data, seed)


_kept: Recent[Programs] = Recent(KEPT)


def programs(problem: Problem, options: Options, dtype: str) -> Programs:
    """The programs of a problem: those of an earlier one of the same structure, or new ones.

    Problems say by `program` that their functions are the same; the shapes of their arrays and the options
    that are built into the programs must be the same too.

    Args:
      problem: the problem.
      options: the options.
      dtype: "float64" or "float32".
    """
    if problem.program is None:
        return _build(problem, options, dtype)
    padding = padding_of(problem)
    shapes = tuple(
        (np.shape(array), str(np.asarray(array).dtype))
        for array in tf.nest.flatten(padding.data(problem.data))
    )
    sizes = (len(problem.params), padding.num_latents)
    built_in = (
        options.num_chains,
        options.num_leapfrog,
        options.target_acceptance,
        _num_workers(problem, options),
    )
    key = (problem.program, shapes, sizes, dtype, built_in)
    return _kept.get(key, lambda: _build(problem, options, dtype))


def precompile(problem: Problem, options: Options, dtype: str, arrays: Any) -> None:
    """Trace and compile the programs that `run` will use for this problem and these options.

    They are called for no transition and no draw, which only compiles them. `run` finds them by the problem's
    `program` and by shapes, so that its own problem may be another one.

    Args:
      problem: with `program`; its parameters and geometry do not matter.
      options: those of the run.
      dtype: "float64" or "float32".
      arrays: of the shapes that the geometry's will have; their values do not matter.
    """
    compiled = programs(problem, options, dtype)
    padding = padding_of(problem)
    data = tensors_of(padding.data(problem.data), dtype)
    white = tensors_of(padding.arrays(arrays), dtype)
    params, none = tf.zeros([len(problem.params)], dtype), tf.constant(0)
    control = Control(
        tf.constant([0, 0]), none, none, none, tf.constant(ranks(padding)), params, white
    )
    chain = hmc.unseen(tf.zeros([padding.num_latents, compiled.num_chains], dtype))
    many = tf.zeros([compiled.capacity, *chain.position.shape], dtype)
    watched = _watched(np.zeros(len(options.watched), int))
    compiled.trace(control, chain, watched, data)
    with ThreadPoolExecutor(2) as pool:
        calls = (
            pool.submit(compiled.walk, control, chain, tf.constant(0.5, dtype), data),
            pool.submit(compiled.evaluate, params, white, many, none, watched, data),
        )
    for call in calls:
        call.result()


def clear() -> None:
    """Forget all programs."""
    _kept.clear()


def _build(problem: Problem, options: Options, dtype: str) -> Programs:
    workers = _num_workers(problem, options)
    chains = options.num_chains // workers
    capacity = capacity_of(padding_of(problem).num_latents * chains)
    return Programs(
        walk=Kept(build_walk(problem, options, capacity)),
        evaluate=Kept(build_evaluate(problem, capacity)),
        capacity=capacity,
        num_workers=workers,
        num_chains=chains,
        dtype=dtype,
    )


def _num_workers(problem: Problem, options: Options) -> int:
    """How many calls run at the same time."""
    if problem.num_workers is not None:
        return problem.num_workers
    shared = problem.geometry is not None and options.num_chains % NUM_WORKERS == 0
    return NUM_WORKERS if shared else 1


def capacity_of(numbers: int) -> int:
    """Draws at once, of so many numbers each."""
    return min(MOST_CAPACITY, max(LEAST_CAPACITY, CALL_NUMBERS // max(1, numbers)))


def _watched(places: Any) -> Any:
    """Places (w,), with others behind them that nobody looks at: few numbers of them are shapes of programs."""
    size = -(-len(places) // WATCHED) * WATCHED
    return tf.constant(np.resize(places, size) if len(places) else places, tf.int32)


def num_rows(data: Any) -> int:
    """The length of the longest of a problem's arrays."""
    return max((part.shape[0] for part in tf.nest.flatten(data) if len(part.shape)), default=1)


def tensors_of(structure: Any, dtype: str) -> Any:
    """The arrays of a nested structure as tensors, floating ones in `dtype`."""

    def convert(array: Any) -> Any:
        array = np.asarray(array)
        return tf.constant(array.astype(dtype) if array.dtype.kind == "f" else array)

    return tf.nest.map_structure(convert, structure)
