"""Whether memory stays where it is over a study of many data sets, each of another shape.

Shapes that are padded to the same sizes share programs, of which those used last are kept: memory rises while
there are new ones, and has to be flat from then on. Prints the process's memory as it goes; the exit status is
1 where it still rises over the last half of the fits, or where there is too much of it in all. Linux only.

    python benchmarks/memory.py --shapes 80 --family bernoulli
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import lmeformula as lf

# MiB over the last half of the fits, and in all.
MOST_GROWTH, MOST_MEMORY = 100.0, 1536.0
# Rows of data: in the first half of the fits are some of all sizes that these are padded to.
SMALLEST, LARGEST = 40, 2000
LEAST_SHAPES = 40
EVERY = 10


def memory() -> float:
    """MiB of this process that are in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(found) / 1024


def data_set(number: int, family: str) -> pd.DataFrame:
    """The data set of this number: hardly two have as many rows."""
    rng = np.random.default_rng(number)
    num_groups = 8 + number % 7
    size = SMALLEST * (LARGEST / SMALLEST) ** rng.uniform()
    group = np.arange(int(size)) % num_groups
    x = rng.normal(size=len(group))
    predictor = 0.3 + 0.5 * x + 0.7 * rng.normal(size=num_groups)[group]
    mean = {"poisson": np.exp(predictor), "bernoulli": 1 / (1 + np.exp(-predictor))}[family]
    y = rng.poisson(mean) if family == "poisson" else rng.binomial(1, mean)
    return pd.DataFrame({"y": y, "x": x, "g": [f"g{level}" for level in group]})


def main() -> int:
    """Fit, print, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--shapes", type=int, default=200, help=f"at least {LEAST_SHAPES}")
    parser.add_argument("--family", choices=("poisson", "bernoulli"), default="poisson")
    args = parser.parse_args()
    if args.shapes < LEAST_SHAPES:
        parser.error(f"--shapes has to be {LEAST_SHAPES} or more")
    found = []
    print(f"{'fits':>5} {'memory':>12}")
    for number in range(args.shapes):
        data = data_set(number, args.family)
        lf.fit("y ~ x + (1 | g)", data, args.family, method="mcem", progress=False)
        found.append(memory())
        if len(found) == 1 or len(found) % EVERY == 0:
            print(f"{len(found):5d} {found[-1]:8.0f} MiB", flush=True)
    last = np.array(found[len(found) // 2 :])
    growth, most = float(np.ptp(last)), max(found)
    print(f"last half: within {growth:.0f} MiB, to be below {MOST_GROWTH:.0f}")
    print(f"largest: {most:.0f} MiB, to be below {MOST_MEMORY:.0f}")
    return int(growth > MOST_GROWTH or most > MOST_MEMORY)


if __name__ == "__main__":
    sys.exit(main())
