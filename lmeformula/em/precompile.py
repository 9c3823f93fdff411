"""Compile a problem's programs before anything is known of its posterior, beside other work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from lmeformula.em.draws import trace_programs
from lmeformula.em.estep import hmc
from lmeformula.em.estep.sampler import Control
from lmeformula.em.programs import programs, tensors_of
from lmeformula.em.types import Options, Problem


def compile_ahead(problem: Problem, options: Options, dtype: str, arrays: Any) -> None:
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
    data, white = tensors_of(problem.data, dtype), tensors_of(arrays, dtype)
    params = tf.zeros([len(problem.params)], dtype)
    none = tf.constant(0)
    control = Control(tf.constant([0, 0]), none, none, none, params, white)
    chain = hmc.unseen(tf.zeros([len(problem.latents), compiled.num_chains], dtype))
    many = tf.zeros([compiled.capacity, *chain.position.shape], dtype)
    if compiled.num_traces == 0:
        trace_programs(compiled, control, chain, data)

    def walk() -> None:
        compiled.walk(control, chain, tf.constant(0.5, dtype), data)

    def evaluate() -> None:
        compiled.evaluate(params, white, many, none, data)

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(walk), pool.submit(evaluate)]:
            each.result()
