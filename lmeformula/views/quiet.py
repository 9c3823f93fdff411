"""View stage: import TensorFlow without the notes about its build that it writes to the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow and let it look for devices, once and for all, with standard error closed.

    TensorFlow's native code writes there before any setting can stop it. What goes wrong in the
    import is a Python exception and shows all the same.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _standard_error_closed():
        import tensorflow as tf

        tf.config.list_physical_devices()


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    # The descriptor, not sys.stderr: native code does not know the latter.
    saved, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)
