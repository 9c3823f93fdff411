"""Which responses a user's family takes, by name or by a function, and what is said of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.arrays import Floats, Mask
from lmeformula.errors import ModelError


class Support(NamedTuple):
    """The responses of a family.

    Attributes:
      words: what they are, as in "the family needs ...".
      holds: responses (n,) -> whether each is one of them.
      probes: some of them, all of which must have a density; none where only a function tells.
    """

    words: str
    holds: Callable[[Floats], Mask]
    probes: tuple[float, ...] = ()


# Successes out of trials, whose numbers the distribution takes.
SUCCESSES = "trials"
_COUNTS = Support(
    "counts: whole numbers from zero", lambda y: (y >= 0.0) & (y == np.round(y)), (0.0, 1.0, 4.0)
)
SUPPORTS = {
    "real": Support("numbers", lambda y: np.isfinite(y), (-2.0, 0.5, 3.0)),
    "positive": Support("positive numbers", lambda y: y > 0.0, (0.2, 1.0, 5.0)),
    "nonnegative": Support("numbers from zero", lambda y: y >= 0.0, (0.0, 0.2, 5.0)),
    "unit": Support(
        "numbers strictly between 0 and 1", lambda y: (y > 0.0) & (y < 1.0), (0.1, 0.5, 0.8)
    ),
    "count": _COUNTS,
    SUCCESSES: _COUNTS._replace(words="whole numbers of successes"),
    "binary": Support("zeros and ones", lambda y: (y == 0.0) | (y == 1.0), (0.0, 1.0)),
}


def support_of(family: str, support: Any) -> Support:
    """The support that a user named, or gave as a function.

    Args:
      family: its name, for the errors.
      support: one of `SUPPORTS`, or a function of responses (n,) that says which are suitable.
    Raises:
      ModelError: for anything else, and for a function that does not answer for each response.
    """
    if isinstance(support, str) and support in SUPPORTS:
        return SUPPORTS[support]
    if not callable(support):
        raise ModelError(
            f"the support of the family {family!r} is {kinds.shown(support)}",
            hint=f"Name one of {', '.join(map(repr, SUPPORTS))}, or give a function of an array of "
            "responses that says which of them are suitable: support=lambda y: y > 2.",
        )

    def holds(y: Floats) -> Mask:
        try:
            found = np.asarray(support(y))
        except Exception as error:
            raise ModelError(
                f"the support of the family {family!r} fails: {type(error).__name__}: {error}",
                hint="It is called with an array of responses: support=lambda y: y > 2.",
            ) from error
        if found.shape != y.shape or found.dtype != bool:
            raise ModelError(
                f"the support of the family {family!r} gives {found.dtype} of the shape {found.shape} for "
                f"{len(y)} responses",
                hint="It must say True or False for each: support=lambda y: y > 2.",
            )
        return found

    return Support("responses in its support", holds)
