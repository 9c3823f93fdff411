"""The generic Monte Carlo EM engine: maximum likelihood for any log joint density of parameters and latents.

Names load on first use, because `run` and `from_joint` import TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmeformula.em.loop import run as run
    from lmeformula.em.outcome import Outcome as Outcome
    from lmeformula.em.problem import assign as assign
    from lmeformula.em.problem import from_joint as from_joint
    from lmeformula.em.problem import from_log_joint as from_log_joint
    from lmeformula.em.types import Geometry as Geometry
    from lmeformula.em.types import Options as Options
    from lmeformula.em.types import Problem as Problem
    from lmeformula.em.types import Solution as Solution

_HOME = {
    "Outcome": "outcome",
    "Problem": "types",
    "Geometry": "types",
    "Options": "types",
    "Solution": "types",
    "from_log_joint": "problem",
    "from_joint": "problem",
    "assign": "problem",
    "run": "loop",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
