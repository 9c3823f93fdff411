"""Programs compiled for the shapes of their arguments, which a damaged or full cache of them does not fail."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from lmeformula.em import sessions
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
        self._run, self.outputs = sessions.compiled(function, specs)
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
        self._run, _ = sessions.compiled(self._function, self._specs)
        try:
            return self._run(*arguments)
        except tf.errors.OpError:
            self._run = tf.function(self._function, input_signature=self._specs, autograph=False)
        return self._run(*arguments)
