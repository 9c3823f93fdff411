"""Compiled functions whose memory is given back when they are dropped: each in a session of its own.

What XLA compiles for a `tf.function` belongs to the device of the one eager context, and stays there until
the process ends, whatever becomes of the function: some ten megabytes for each of our programs and shapes. A
session has devices of its own, and takes with it what was compiled for them. So a function is traced as any
other, and its graph then runs, as one compiled call, in a session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def compiled(
    function: Callable[..., Any], specs: tuple[Any, ...]
) -> tuple[Callable[..., Any], Any]:
    """Trace a function and have it compiled by XLA when it is first called.

    Args:
      function: of tensors, or nested structures of them, to such a structure.
      specs: a `tf.TensorSpec` in place of each tensor.
    Returns:
      run: takes what `function` takes, as tensors or arrays, and returns arrays; tensors, and from the eager
        context, where the function uses variables, which live there.
      outputs: a `tf.TensorSpec` in place of each array.
    """
    traceable = tf.function(function, input_signature=specs, jit_compile=True, autograph=False)
    traced = traceable.get_concrete_function()
    outputs = tf.nest.map_structure(
        lambda part: tf.TensorSpec(part.shape, part.dtype), traced.structured_outputs
    )
    if any(tensor.dtype == tf.resource for tensor in traced.captured_inputs):
        return traceable, outputs
    return _Apart(traced, outputs), outputs


class _Apart:
    """A traced function in a session of its own, which ends with it."""

    def __init__(self, traced: Any, outputs: Any) -> None:
        self._outputs = outputs
        self._captured = [np.asarray(tensor) for tensor in traced.captured_inputs]
        graph = tf.Graph()
        with graph.as_default():
            tf.import_graph_def(_one_call(traced), name="")
        session = tf.compat.v1.Session(graph=graph, config=_as_traced())
        self._run = session.make_callable(
            [f"call:{place}" for place in range(len(traced.outputs))],
            [f"given_{place}:0" for place in range(len(traced.inputs))],
        )

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        # Arrays of numbers are views of tensors, not copies.
        given = [np.asarray(part) for part in tf.nest.flatten(arguments)]
        return tf.nest.pack_sequence_as(self._outputs, self._run(*given, *self._captured))


def _one_call(traced: Any) -> Any:
    """The graph that passes what it is given to a traced function, compiled, and on what that returns."""
    graph = tf.compat.v1.GraphDef()
    inner = traced.graph.as_graph_def()
    graph.versions.CopyFrom(inner.versions)
    graph.library.CopyFrom(inner.library)
    graph.library.function.add().CopyFrom(traced.function_def)
    call = tf.compat.v1.NodeDef(name="call", op="StatefulPartitionedCall")
    call.attr["f"].func.name = traced.function_def.signature.name
    call.attr["_XlaMustCompile"].b = True
    call.attr["Tin"].list.SetInParent()
    call.attr["Tout"].list.SetInParent()
    for place, tensor in enumerate(traced.inputs):
        given = graph.node.add(name=f"given_{place}", op="Placeholder")
        given.attr["dtype"].type = tensor.dtype.as_datatype_enum
        given.attr["shape"].shape.CopyFrom(tensor.shape.as_proto())
        call.input.append(given.name)
        call.attr["Tin"].list.type.append(tensor.dtype.as_datatype_enum)
    for tensor in traced.outputs:
        call.attr["Tout"].list.type.append(tensor.dtype.as_datatype_enum)
    graph.node.append(call)
    return graph


def _as_traced() -> Any:
    """The eager context's settings, except that nothing rewrites what was traced before XLA gets it."""
    from tensorflow.python.eager import context

    settings = tf.compat.v1.ConfigProto()
    settings.CopyFrom(context.context().config)
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings
