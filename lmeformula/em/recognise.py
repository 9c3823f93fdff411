"""Structures that others know: what recognises them is given to the engine, which imports none of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Recogniser = Callable[..., Any]

_recognisers: list[Recogniser] = []


def offer(recogniser: Recogniser) -> None:
    """Let `from_joint` ask this too.

    Args:
      recogniser: (pinned joint distribution, unconstrained variables, the bijector of each or None, names and
        sizes of the parts of latents in their order, seed) -> what solves it in the place of the loop, see
        `Problem.solver`, or None where it sees nothing that it knows.
    """
    _recognisers.append(recogniser)


def recognised(
    joint: Any,
    variables: Sequence[Any],
    bijectors: Sequence[Any],
    latents: Sequence[tuple[str, int]],
    seed: int,
) -> Any:
    """The first solver that a recogniser has for a pinned joint distribution, or None."""
    for recogniser in _recognisers:
        found = recogniser(joint, variables, bijectors, latents, seed)
        if found is not None:
            return found
    return None
