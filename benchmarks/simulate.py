"""Bias and coverage of every family over data sets with known truth, as a table.

Each family's data sets share predictors and groups; effects and responses are drawn anew by NumPy. The table
is written anew after each study, so that a run that is stopped leaves what it has; studies that are in the
file of --keep are not run again.

    python benchmarks/simulate.py --write benchmarks/SIMULATION.md
    python benchmarks/simulate.py --families gamma beta --methods laplace mcem --sets 20
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from simulation import report
from simulation.cases import CASES
from simulation.study import Tally, study

METHODS = ("laplace", "mcem")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--families", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["laplace"])
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="the table, in Markdown; printed by default")
    parser.add_argument("--keep", type=Path, help="studies so far, in JSON")
    options = parser.parse_args()
    done = _read(options.keep)
    for method in options.methods:
        for family in options.families:
            key = f"{family} {method} {options.sets} {options.seed}"
            if key not in done:
                done[key] = study(CASES[family], method, options.sets, options.seed)
                _write(options.keep, done)
            text = report.table(list(done.values()), options.sets)
            if options.write is None:
                print(f"{family} by {method}", file=sys.stderr)
            else:
                options.write.write_text(text, encoding="utf-8")
    if options.write is None:
        print(text)


def _read(path: Path | None) -> dict[str, Tally]:
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))
    arrays = ("truth", "estimates", "inside")
    return {
        key: Tally(**{k: np.array(v, float) if k in arrays else v for k, v in fields.items()})
        for key, fields in found.items()
    }


def _write(path: Path | None, done: dict[str, Tally]) -> None:
    if path is not None:
        plain = {
            key: {
                k: v.tolist() if isinstance(v, np.ndarray) else v
                for k, v in tally._asdict().items()
            }
            for key, tally in done.items()
        }
        path.write_text(json.dumps(plain), encoding="utf-8")


if __name__ == "__main__":
    main()
