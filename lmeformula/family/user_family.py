"""What a user's family is made of: the record that is tried out, and that its functions are made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.bijected import Bijected


@dataclass(frozen=True, eq=False)
class UserFamily:
    """What a user's family is made of.

    Attributes:
      name: the family's.
      names: (f) of the own parameters.
      build: (mu, own parameters, numbers of trials or None) -> distribution.
      inverse: linear predictor -> mu, of tensors.
      scale: of the own parameters.
      start: (f,) natural own parameters to search around.
      has_trials: whether responses are successes out of trials, which the distribution takes.
    """

    name: str
    names: tuple[str, ...]
    build: Callable[[Tensor, tuple[Tensor, ...], Tensor | None], Any]
    inverse: Callable[[Tensor], Tensor]
    scale: Bijected
    start: Floats
    has_trials: bool = False
