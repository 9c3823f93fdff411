"""Compiled programs that a damaged or full cache of them does not fail."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from lmeformula.startup import forget_programs


class Kept:
    """A `tf.function` whose compiled code may come from files, which may be damaged, or not be writable.

    What goes wrong in the first call is answered by deleting the files and compiling anew, and if that does not
    help, by doing without XLA: slower, but the same program.

    Args:
      function: a `tf.function` with `jit_compile`.
    """

    def __init__(self, function: Any) -> None:
        self._function = function
        self._is_sound = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __call__(self, *arguments: Any) -> Any:
        """Call the program."""
        if self._is_sound:
            return self._function(*arguments)
        found = self._first(*arguments)
        self._is_sound = True
        return found

    def _first(self, *arguments: Any) -> Any:
        plain = self._function.python_function
        try:
            return self._function(*arguments)
        except tf.errors.OpError:
            if not forget_programs():
                raise
        self._function = tf.function(plain, jit_compile=True, autograph=False)
        try:
            return self._function(*arguments)
        except tf.errors.OpError:
            self._function = tf.function(plain, autograph=False)
        return self._function(*arguments)
