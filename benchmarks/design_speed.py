"""How long the design of InstEval takes: 73,421 rows, three grouping factors, by type of their columns.

    python benchmarks/design_speed.py [REPETITIONS]

Prints the first call and the median and longest of the others, in milliseconds; exit status 1 if a median is
above the limit of 150 ms.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

import lmeformula as lf

FORMULA = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"
GROUPS = ("s", "d", "dept")
LIMIT = 150.0


def tables() -> Mapping[str, Any]:
    """InstEval in several kinds of table."""
    data = lf.datasets.load("InstEval").astype(dict.fromkeys(GROUPS, "int64"))
    text = data.astype(dict.fromkeys(GROUPS, "str"))
    return {
        "integers": data,
        "floats": data.astype(dict.fromkeys(GROUPS, "float64")),
        "categories": data.astype(dict.fromkeys(GROUPS, "category")),
        "strings": text,
        "strings (object)": data.astype(dict.fromkeys(GROUPS, str)).astype(
            dict.fromkeys(GROUPS, object)
        ),
        "strings (Arrow)": text.astype(dict.fromkeys(GROUPS, "string[pyarrow]")),
        "polars strings": pl.DataFrame(text.to_dict("list")),
        "pyarrow strings": pa.table(text.to_dict("list")),
        "dict of arrays": {name: data[name].to_numpy() for name in data},
    }


def milliseconds(formula: lf.Formula, table: Any) -> float:
    """Time one design."""
    start = time.perf_counter()
    lf.design(formula, table)
    return (time.perf_counter() - start) * 1e3


def main() -> int:
    """Print a line for each kind of table."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    formula = lf.parse(FORMULA)
    is_slow = False
    print(f"{FORMULA}\n{'grouping columns':20} {'first':>8} {'median':>8} {'longest':>8}  ms")
    for name, table in tables().items():
        first, *others = (milliseconds(formula, table) for _ in range(repetitions + 1))
        median = statistics.median(others)
        is_slow |= median > LIMIT
        print(f"{name:20} {first:8.1f} {median:8.1f} {max(others):8.1f}")
    return int(is_slow)


if __name__ == "__main__":
    sys.exit(main())
