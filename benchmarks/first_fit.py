"""How long the first Monte Carlo EM fit of a process takes, and that of each new size of data.

Fits crossed verbal aggression in processes of their own: with an empty cache of compiled programs, and with the
one that this filled. In each, then the same data again, and parts of it, which are data of other sizes. Prints
seconds on the clock and of the processor; the exit status is 1 where data of another size compiled anything, or
where an answer depends on the cache.

    python benchmarks/first_fit.py --persons 316 250 200
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FORMULA = "r2 ~ btype + situ + (1 | id) + (1 | item)"
# What a process of its own does: a line of JSON for each fit, and one of how often programs were traced.
FITS = """
import json, sys, time

began = time.perf_counter(), time.process_time()
import lmeformula as lf

formula, numbers = json.loads(sys.argv[1])
everything = lf.datasets.load("VerbAgg")
persons = sorted(everything["id"].unique())


def fitted(name, data, since=None):
    wall, processor = since or (time.perf_counter(), time.process_time())
    fit = lf.fit(formula, data, "bernoulli", method="mcem", progress=False)
    seconds = time.perf_counter() - wall, time.process_time() - processor
    answer = [fit.loglik.value, *fit.param_values.tolist(), *fit.param_stderr.tolist()]
    print(json.dumps([name, len(data), *seconds, answer]), flush=True)


fitted("first, with imports", everything, began)
fitted("the same again", everything)
for number in numbers:
    part = everything[everything["id"].isin(persons[:number])].reset_index(drop=True)
    fitted(f"{number} persons", part)

from lmeformula.em import programs

print(json.dumps([kept.num_traces for kept in programs._kept]))
"""


def run(cache: Path, numbers: list[int]) -> tuple[list[list], list[int]]:
    """What a process prints: a line for each fit, and how often each program was traced."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FITS, json.dumps([FORMULA, numbers])],
        env=dict(os.environ) | {"LMEFORMULA_XLA_CACHE": str(cache)},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    *fits, traces = (json.loads(line) for line in done.stdout.splitlines())
    return fits, traces


def main() -> int:
    """Run, print, and judge."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--persons", type=int, nargs="*", default=[300, 250, 200])
    args = parser.parse_args()
    answers, compiled = [], []
    with tempfile.TemporaryDirectory() as directory:
        for cache in ("empty", "filled"):
            fits, traces = run(Path(directory), args.persons)
            print(f"cache {cache:<22} {'rows':>6} {'clock':>8} {'processor':>10}")
            for name, rows, clock, processor, _ in fits:
                print(f"  {name:<26} {rows:6d} {clock:6.2f} s {processor:8.2f} s")
            answers.append([answer for *_, answer in fits])
            compiled.append(sum(traces))
    print(f"programs traced: {compiled[0]} and {compiled[1]}, to be 1 each")
    print(f"answers {'the same' if answers[0] == answers[1] else 'NOT the same'} to the bit")
    return int(compiled != [1, 1] or answers[0] != answers[1])


if __name__ == "__main__":
    sys.exit(main())
