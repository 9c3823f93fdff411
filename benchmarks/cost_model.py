"""What a fit of two crossed factors takes, predicted from rows, levels and columns: seconds, memory, network.

A fit goes over its rows a few times, to read them, make the design and sum them up; then over the pairs of
levels that meet in some row, once for each product with a matrix of effects, of which there are the more the
more covariance parameters there are. So there are two constants for a method, a processor's nanoseconds for
each row and column, and for each element of a pair and parameter, which are measured: they are the ones that
come closest to all runs of `scale.py`, in relative terms.

    python benchmarks/cost_model.py --runs benchmarks/scale_runs.json
    python benchmarks/cost_model.py --rows 1e10 --levels 4e7 1e7 --workers 200
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

RUNS = Path(__file__).parent / "scale_runs.json"
# Products with matrices of effects in a fit, and the columns of such a matrix: of the runs, on average.
PRODUCTS, COLUMNS = 100, 8
# Bytes: of a row for each column, where columns are in memory and where they are in files; of an element of a
# pair; of an effect, for all vectors that a solver holds; and of a process that has imported all.
ROW_BYTES, FILE_BYTES, PAIR_BYTES, EFFECT_BYTES, BASE_BYTES = 25.0, 9.0, 20.0, 1500.0, 0.13 * 2**30
# Of an approximation rows keep their predictors and derivatives, where it is looked at.
VISITED_BYTES = 64.0
# Seconds until all is imported and compiled.
START = 1.05
# Products go through the larger factor in order, and look up the smaller one's effects all over: an element of
# those that the cache of this many bytes does not hold takes so many times as long, and once; measured, by
# the crossed runs. Popular levels stay in it.
CACHE, MISS = 1e6, 3.0
# Bytes a second between machines.
BANDWIDTH = 1.25e9
WITHIN = 0.3


class Size(NamedTuple):
    """A model.

    Attributes:
      rows: of the data.
      levels: of both factors.
      columns: fixed ones and effects of a row.
      elements: of the block of a pair of levels: effects of one times effects of the other.
      parameters: of the covariances.
      in_files: whether the columns are.
      even: whether levels are equally frequent.
      fresh: which share of the rows is the first of its pair of levels; of equally frequent levels by default.
      visited: whether rows are visited in every evaluation, as by an approximation.
    """

    rows: float
    levels: tuple[float, float]
    columns: int = 4
    elements: int = 1
    parameters: int = 2
    in_files: bool = False
    even: bool = True
    fresh: float | None = None
    visited: bool = False

    def pairs(self, workers: int = 1) -> float:
        """Pairs of levels that meet in the rows of one worker."""
        rows, cells = self.rows / workers, self.levels[0] * self.levels[1]
        if self.fresh is not None:
            # Where there are fewer rows hardly any of them meets another.
            return rows * (self.fresh if workers == 1 else 1.0)
        return float(-cells * np.expm1(-rows / cells))

    @property
    def row_bytes(self) -> float:
        """Of memory, for a row and column."""
        if self.in_files:
            return FILE_BYTES
        return VISITED_BYTES if self.visited else ROW_BYTES

    @property
    def work(self) -> float:
        """Elements of pairs, as often as there are parameters."""
        return self.elements * self.parameters * self.slowness

    @property
    def slowness(self) -> float:
        """How many times as long an element takes as one in the cache."""
        held = CACHE / (8.0 * COLUMNS * min(self.levels))
        return 1.0 + MISS * max(0.0, 1.0 - held) if self.even else 1.0


class Constants(NamedTuple):
    """Nanoseconds of a processor: for each row and column of it, and for each pair of levels."""

    row: float
    pair: float


class Cost(NamedTuple):
    """Seconds of each worker's processor and of the network, bytes of a worker's memory, bytes sent in all."""

    seconds: float
    network_seconds: float
    memory: float
    network: float


def predict(size: Size, constants: Constants, workers: int = 1) -> Cost:
    """What a fit takes; with several workers, each of them, which send sums of effects to one host."""
    rows, pairs, effects = size.rows / workers, size.pairs(workers), sum(size.levels)
    seconds = START + 1e-9 * (
        constants.row * size.columns * rows + constants.pair * size.work * pairs
    )
    row_bytes = size.columns * size.row_bytes
    memory = (
        BASE_BYTES + row_bytes * rows + PAIR_BYTES * size.elements * pairs + EFFECT_BYTES * effects
    )
    # Every product sends each worker the effects, and their sums back.
    each = 2.0 * 8.0 * effects * COLUMNS * PRODUCTS if workers > 1 else 0.0
    return Cost(seconds, workers * each / BANDWIDTH, memory, workers * each)


def size_of(run: dict[str, Any]) -> Size:
    """The size of a run of `scale.py`."""
    more = {"columns": 5, "elements": 2, "parameters": 4} if run["kind"] == "slopes" else {}
    return Size(
        run["rows"],
        tuple(run["levels"][:2]),
        in_files=run["from_file"],
        even=run["kind"] != "heavy tails",
        fresh=run["pairs"] / run["rows"],
        visited=run["method"] != "exact",
        **more,
    )


def seconds_of(run: dict[str, Any]) -> float:
    """What a run took of a processor."""
    return float(run["design_cpu_seconds"] + run["fit_cpu_seconds"])


def measure(runs: list[dict[str, Any]]) -> Constants:
    """The constants that come closest to runs by one method, in relative terms."""
    sizes = [size_of(run) for run in runs]
    work = 1e-9 * np.array([[size.rows * size.columns, size.work * size.pairs()] for size in sizes])
    taken = np.maximum([seconds_of(run) - START for run in runs], 0.1)
    from scipy.optimize import nnls

    return Constants(*nnls(work / taken[:, None], np.ones(len(runs)))[0].tolist())


def table(runs: list[dict[str, Any]]) -> tuple[str, bool]:
    """Predicted and measured costs side by side, and whether all are as close as they are to be."""
    lines = [
        "| data | family, method | rows | CPU s | predicted | peak GiB | predicted |",
        "|---|---|---|---|---|---|---|",
    ]
    is_close = True
    for case in dict.fromkeys((run["family"], run["method"]) for run in runs):
        same = [run for run in runs if (run["family"], run["method"]) == case]
        constants = measure(same)
        for run in same:
            cost = predict(size_of(run), constants)
            is_close &= abs(cost.seconds / seconds_of(run) - 1.0) <= WITHIN
            is_close &= abs(cost.memory / 2**30 / run["peak_gib"] - 1.0) <= WITHIN
            lines.append(
                f"| {run['kind']} | {', '.join(case)} | {run['rows']:,} | {seconds_of(run):.1f} | "
                f"{cost.seconds:.1f} | {run['peak_gib']:.2f} | {cost.memory / 2**30:.2f} |"
            )
        lines.append(
            f"| | {', '.join(case)} | | {constants.row:.0f} ns a row and column, "
            f"{constants.pair:.0f} ns a pair | | | |"
        )
    return "\n".join(lines), is_close


def main() -> None:
    """Print the table, and what one size takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=RUNS, help="what `scale.py --runs` wrote")
    parser.add_argument("--rows", type=float, default=1e10)
    parser.add_argument("--levels", type=float, nargs=2, default=(4e7, 1e7))
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--workers", type=int, default=200)
    options = parser.parse_args()
    runs = json.loads(options.runs.read_text("utf-8"))
    text, is_close = table(runs)
    print(text, "\n")
    print(f"All within {WITHIN:.0%}." if is_close else f"Not all are within {WITHIN:.0%}.")
    constants = measure(
        [run for run in runs if (run["family"], run["method"]) == ("gaussian", "exact")]
    )
    size = Size(options.rows, tuple(options.levels), options.columns)
    cost = predict(size, constants, options.workers)
    print(
        f"{size.rows:,.0f} rows, {size.levels[0]:,.0f} x {size.levels[1]:,.0f} levels, "
        f"{options.workers} workers: {cost.seconds:,.0f} s of each worker's processor, "
        f"{cost.network_seconds:,.0f} s of a network of {BANDWIDTH * 8 / 1e9:.0f} Gbit/s that ends at one "
        f"host, {cost.memory / 2**30:,.1f} GiB in each worker, {cost.network / 1e12:,.1f} TB sent."
    )


if __name__ == "__main__":
    main()
