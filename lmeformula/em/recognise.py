"""Structures that others know: what recognises them is given to the engine, which imports none of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# What `from_joint` asks, in turn: (pinned joint distribution, unconstrained variables, the bijector of each or
# None, names and sizes of the parts of latents in their order, seed) -> what solves it in the place of the
# loop, see `Problem.solver`, or None where it sees nothing that it knows.
RECOGNISERS: list[Callable[..., Any]] = []
