"""What the numbers of all fits depend on, beside what is asked: the processor, the libraries, this code."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import threadpoolctl

from lmeformula.checkpoint.trees import digest

LIBRARIES = ("numpy", "scipy", "tensorflow", "tensorflow-probability")


def surroundings() -> dict[str, str]:
    """By its name in words each thing, as it is where that is short, or a digest of it."""
    return {library: version(library) for library in LIBRARIES} | {
        "Python": platform.python_version(),
        "the processor": _processor(),
        "the version of lmeformula": _code(),
    }


def _processor() -> str:
    """The kind of processor, as far as it tells which of their loops libraries take."""
    kinds = {
        one["architecture"] for one in threadpoolctl.threadpool_info() if "architecture" in one
    }
    return " ".join([platform.machine(), *sorted(kinds)])


def _code() -> str:
    """A digest of the source of this package: one that is worked on has no other version."""
    home = Path(__file__).parents[1]
    return digest(
        {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*.py"))}
    )
