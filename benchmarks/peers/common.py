"""What the Python workers share: their arguments, the data, and how results are printed.

    python benchmarks/peers/TOOL.py DATA.csv FORMULA KIND FACTORS METHOD MORE

fits the model once, and MORE times again, and prints a line "result {...}" of JSON for each.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

warnings.simplefilter("ignore")

LEAST_SECONDS, MOST_FITS = 0.5, 60


class Task(NamedTuple):
    """The worker's arguments."""

    path: str
    formula: str
    kind: str
    factors: list[str]
    method: str
    more: int


def read_task() -> Task:
    """The arguments of this process."""
    path, formula, kind, factors, method, more = sys.argv[1:]
    return Task(path, formula, kind, factors.split(","), method, int(more))


def read_data(task: Task) -> Any:
    """The data as a pandas frame, labels as text."""
    import pandas as pd

    return pd.read_csv(task.path).astype(dict.fromkeys(task.factors, str))


def run(task: Task, version: str, fit: Callable[[], Any], answer: Callable[[Any], Any]) -> None:
    """Fit and print.

    Args:
      task: the arguments; with more than one fit asked for, short ones go on for LEAST_SECONDS.
      version: of the tool.
      fit: what is timed.
      answer: takes a fit to its log-likelihood, its sds by name and, if it has one, its Monte Carlo error.
    """
    total, number = 0.0, 0
    while number <= task.more or (task.more and total < LEAST_SECONDS and number < MOST_FITS):
        began, busy = time.perf_counter(), time.process_time()
        found = fit()
        seconds, cpu = time.perf_counter() - began, time.process_time() - busy
        total, number = total + seconds, number + 1
        loglik, sds, *error = answer(found)
        record = {"seconds": seconds, "cpu": cpu, "loglik": loglik, "sds": sds, "version": version}
        if error:
            record["error"] = error[0]
        print("result " + json.dumps(record), flush=True)
