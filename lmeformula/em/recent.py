"""What is dear to make, kept for the next one who asks: the last few, wherever threads ask."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# TensorFlow's graphs refer to themselves. Python's collector is in no hurry, as it sees few objects and not the
# megabytes behind them: it is called once for so many programs that were dropped.
COLLECTED = 16


class Recent(Generic[T]):
    """Programs by what they hang on, those that were used last.

    Args:
      most: how many are kept.
    Example:
      >>> squares = Recent(1)
      >>> squares.get(3, lambda: 9), squares.get(3, lambda: 0), squares.get(2, lambda: 4), len(squares)
      (9, 9, 4, 1)
    """

    def __init__(self, most: int) -> None:
        self._most, self._num_dropped = most, 0
        self._lock, self._found = threading.Lock(), OrderedDict[Any, T]()

    def get(self, key: Any, build: Callable[[], T]) -> T:
        """The one of that key, or a new one, for which those that were used least recently make room.

        Args:
          key: all that it hangs on; what has no hash is never the same.
          build: makes it.
        """
        try:
            hash(key)
        except TypeError:
            return build()
        with self._lock:
            before = self._num_dropped
            if key not in self._found:
                self._found[key] = build()
                while len(self._found) > self._most:
                    self._found.popitem(last=False)
                    self._num_dropped += 1
            self._found.move_to_end(key)
            found = self._found[key]
        # What they leave behind is worth a look now and then.
        if self._num_dropped // COLLECTED > before // COLLECTED:
            gc.collect()
        return found

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._found.clear()

    def __iter__(self) -> Iterator[T]:
        return iter([*self._found.values()])

    def __len__(self) -> int:
        return len(self._found)
