"""Programs compiled for the shapes of their arguments, whose memory is given back when they are dropped.

What XLA compiles for a `tf.function` belongs to the device of the one eager context, and stays there until
the process ends, whatever becomes of the function: some ten megabytes for each of our programs and shapes. A
session has devices of its own, and takes with it what was compiled for them. So a function is traced as any
other, and its graph then runs, as one compiled call, in a session.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lmeformula.startup import forget_programs

# Shapes of the arguments of one function that programs are kept for, those used last.
MOST_SHAPES = 4


class Kept:
    """A function that is compiled for the shapes that it is called with; all memory goes with it.

    Args:
      function: of tensors, or nested structures of them, to such a structure.
      specs: a `tf.TensorSpec` in place of each tensor, where these are always the same: arguments are then
        converted to their types.
    """

    def __init__(self, function: Callable[..., Any], specs: tuple[Any, ...] | None = None) -> None:
        self._function, self._specs = function, specs
        self._lock = threading.Lock()
        self._programs: OrderedDict[Any, _Program] = OrderedDict()
        self.num_traces = 0

    def trace(self, *arguments: Any) -> Any:
        """Trace the function for arguments of these shapes, tensors or `tf.TensorSpec`.

        Returns:
          A `tf.TensorSpec` in place of each array of its result.
        """
        return self._program(arguments).outputs

    def __call__(self, *arguments: Any) -> Any:
        """Call the function with tensors or arrays; returns arrays, or tensors of the eager context."""
        return self._program(arguments)(*arguments)

    def _program(self, arguments: tuple[Any, ...]) -> _Program:
        specs = self._specs or tf.nest.map_structure(
            lambda part: tf.TensorSpec(part.shape, part.dtype), arguments
        )
        key = tuple(tf.nest.flatten(specs))
        with self._lock:
            if key not in self._programs:
                self._programs[key] = _Program(self._function, specs)
                self.num_traces += 1
                while len(self._programs) > MOST_SHAPES:
                    self._programs.popitem(last=False)
            self._programs.move_to_end(key)
            return self._programs[key]


class _Program:
    """A function compiled for some shapes, whose code may come from files: damaged, or not to be written.

    What goes wrong in the first call is answered by deleting the files and compiling anew, and if that does not
    help, by doing without XLA: slower, but the same program.
    """

    def __init__(self, function: Callable[..., Any], specs: tuple[Any, ...]) -> None:
        self._function, self._specs = function, specs
        self._run, self.outputs = compiled(function, specs)
        self._is_sound = False

    def __call__(self, *arguments: Any) -> Any:
        if self._is_sound:
            return self._run(*arguments)
        found = self._first(*arguments)
        self._is_sound = True
        return found

    def _first(self, *arguments: Any) -> Any:
        try:
            return self._run(*arguments)
        except tf.errors.OpError:
            if not forget_programs():
                raise
        self._run, _ = compiled(self._function, self._specs)
        try:
            return self._run(*arguments)
        except tf.errors.OpError:
            self._run = tf.function(self._function, input_signature=self._specs, autograph=False)
        return self._run(*arguments)


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
