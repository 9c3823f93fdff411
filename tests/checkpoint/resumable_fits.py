"""Small fits by every method, their bits, and ways to kill them; as a script, one that is killed in earnest.

    python resumable_fits.py NAME KILLS SEED FOLDER

fits NAME in child processes that are killed with SIGKILL at random moments, KILLS times, each going on with the
checkpoint in FOLDER; then to its end, and prints the bits, and how often there was something to go on from.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import lmeformula as lf
from lmeformula.checkpoint import journal
from lmeformula.checkpoint.trees import digest

load = lf.datasets.load


def _fit(formula: Any, data: str, **how: Any) -> Callable[..., lf.Fit]:
    return lambda **more: lf.fit(formula, load(data), progress=False, **how, **more)


TICKS, CROSSED = "TICKS ~ YEAR + (1|BROOD)", "TICKS ~ YEAR + (1|BROOD) + (1|LOCATION)"
HERDS = "incidence | trials(size) ~ period + (1|herd)"
SLOPES = "Reaction ~ Days + (Days|Subject)"
CASES: dict[str, Callable[..., lf.Fit]] = {
    "exact": _fit(SLOPES, "sleepstudy"),
    "restricted": _fit("Reaction ~ Days + (Days||Subject)", "sleepstudy", reml=True),
    "iterative": _fit("diameter ~ 1 + (1|plate) + (1|sample)", "penicillin", solver="iterative"),
    "laplace": _fit(CROSSED, "grouseticks", family="poisson", method="laplace"),
    "laplace, own parameter": _fit(TICKS, "grouseticks", family="nbinom2", method="laplace"),
    "laplace, measured": _fit(
        "TICKS ~ 1 + (1|INDEX)", "grouseticks", family="nbinom2", method="laplace"
    ),
    "laplace, two predictors": _fit(
        {"mu": "Reaction ~ Days + (1|Subject)", "sigma": "~ Days + (1|Subject)"},
        "sleepstudy",
        method="laplace",
    ),
    "laplace, iterative": _fit(
        CROSSED, "grouseticks", family="poisson", method="laplace", solver="iterative"
    ),
    "quadrature, slopes": _fit(
        "incidence | trials(size) ~ 1 + (1 + size|herd)",
        "cbpp",
        family="binomial",
        method="quadrature",
    ),
    "quadrature": _fit(HERDS, "cbpp", family="binomial", method="quadrature"),
    "mcem": _fit(CROSSED, "grouseticks", family="poisson", method="mcem"),
    "mcem, gaussian": _fit(SLOPES, "sleepstudy", method="mcem"),
    "mcem, iterative": _fit(
        CROSSED, "grouseticks", family="poisson", method="mcem", solver="iterative"
    ),
    "mcem, student": _fit(
        'Reaction ~ Days + (1|gr(Subject, dist="student"))',
        "sleepstudy",
        method="mcem",
        max_iterations=6,
    ),
}


def bits(fit: lf.Fit) -> dict[str, str]:
    """Digests of all that a fit says, but for the seconds."""
    said = {
        name: getattr(fit, name)
        for name in (
            "param_values",
            "param_stderr",
            "param_vcov",
            "param_mc_error",
            "param_stderr_error",
            "fixed_vcov",
            "modes",
            "mode_cov",
            "loglik",
            "ascent",
            "sampling",
            "laplace_values",
            "watched",
            "solver",
            "singular",
        )
    }
    said["iterations"] = tuple(line._replace(seconds=0.0) for line in fit.iterations)
    said |= {"outcome": fit.outcome.name, "certificate": repr(fit.certificate)}
    return {name: digest(value) for name, value in said.items()}


class Killed(BaseException):
    """Stands for the end of a process."""


@contextmanager
def killed_at(place: int) -> Iterator[list[str]]:
    """Write each entry at once, and end as if killed after so many; what was entered is in the list."""
    entered: list[str] = []
    keep = journal.Journal.keep

    def counted(self: journal.Journal, name: str, *given: Any, **how: Any) -> None:
        keep(self, name, *given, **how)
        entered.append(name)
        if len(entered) == place:
            raise Killed

    with written_at_once(), mock.patch.object(journal.Journal, "keep", counted):
        yield entered


@contextmanager
def written_at_once() -> Iterator[None]:
    """Let no time pass before an entry is written."""
    with mock.patch.multiple(journal, EVERY=0.0, SHARE=1e9):
        yield


def _killed_in_earnest(name: str, kills: int, seed: int, folder: Path) -> None:
    """See the first lines of this file."""
    moments = random.Random(seed)
    if not name.startswith("mcem"):
        # Imports are done here, once. TensorFlow cannot be there when a process is forked.
        CASES[name]()
    num_left = 0
    with written_at_once():
        # The first one may compile what the others find in a cache.
        whole = min(_child(name, folder, None) for _ in range(2))
        for _ in range(kills):
            _child(name, folder, moments.uniform(0.0, whole))
            num_left += any(folder.glob("*.npz"))
        fit = CASES[name](checkpoint=folder)
    found = {"bits": bits(fit), "num_left": num_left, "is_there": folder.exists()}
    sys.stdout.write(json.dumps(found))


def _child(name: str, folder: Path, seconds: float | None) -> float:
    """Fit in a process of its own, killed so many seconds after its first entry; gives how long that took."""
    began_ns = time.time_ns()
    process = os.fork()
    if process == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", lf.LmeFormulaWarning)
                CASES[name](checkpoint=folder)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    ended, status = 0, 0
    while not ended and not _has_entered(folder, began_ns):
        time.sleep(0.001)
        ended, status = os.waitpid(process, os.WNOHANG)
    began = time.monotonic()
    if seconds is not None and not ended:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    status = status if ended else os.waitpid(process, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return time.monotonic() - began


def _has_entered(folder: Path, began_ns: int) -> bool:
    """Whether something was written to the journal since then."""
    for path in folder.glob("*.npz"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime_ns > began_ns:
                return True
    return False


if __name__ == "__main__":
    _killed_in_earnest(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
