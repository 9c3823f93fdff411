"""Run the tests, a process for each part of them, two at a time.

TensorFlow keeps memory for every new shape of data until its process ends: one process for all tests would
need more than ten gigabytes. What a part prints is shown when it has ended, in the order in which they end.

    python tests/run.py                 the tests but for the slow ones
    python tests/run.py --slow          all of them
    python tests/run.py tests/em -x     pytest, with these arguments, in one process
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
# Folders that fit many shapes of data are divided: their files are dealt to so many parts.
LOTS = {"estimation": 5, "model": 2, "result": 4}
# The folders that are done soon share so many processes: each takes seconds to start.
SMALL_LOTS = 4
# What takes longest comes first, so that no processor waits for it at the end.
LONGEST = (
    "tests/laplace",
    "tests/result",
    "tests/model",
    "tests/test_api.py",
    "tests/em",
    "tests/truth",
    "tests/estimation",
    "tests/sampling",
    "tests/test_startup.py",
)
# Of the single files, those that start other processes are parts of their own.
ALONE = ("test_startup", "test_cli", "test_any_argument")
AT_ONCE = 2
# Two processes with two threads each for products of small matrices wait for one another: they need twice the
# processor time, and no less time.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
NO_TESTS = 5
# What each part says of its slowest tests: those that could be done without belong into slow.txt.
SLOWEST = ("--durations=10", "--durations-min=3")
COUNTS = ("passed", "failed", "error", "skipped", "xfailed")


def parts() -> list[list[str]]:
    """What each process is given: every folder and file of tests once, and the package's doctests."""
    folders = sorted(
        p for p in (ROOT / "tests").iterdir() if p.is_dir() and any(p.rglob("test_*.py"))
    )
    names = [f"tests/{p.name}" for p in folders if p.name not in LOTS]
    whole = [[name] for name in names if name in LONGEST]
    small = [name for name in names if name not in LONGEST]
    files = [
        lot
        for name, count in LOTS.items()
        for lot in dealt(
            [str(p.relative_to(ROOT)) for p in sorted((ROOT / "tests" / name).rglob("test_*.py"))],
            count,
        )
    ]
    singles = sorted((ROOT / "tests").glob("test_*.py"))
    alone = [[f"tests/{p.name}"] for p in singles if p.stem in ALONE]
    others = [f"tests/{p.name}" for p in singles if p.stem not in ALONE]
    found = [others, *alone, *whole, *files, *dealt(small, SMALL_LOTS), ["lmeformula"]]
    return sorted(found, key=_rank)


def dealt(paths: list[str], count: int) -> list[list[str]]:
    """So many lots, one path after the other to each."""
    return [paths[start::count] for start in range(count)]


def _rank(part: list[str]) -> int:
    """The place of a part: of what takes longest by its folder, of the others the last."""
    ranks = (place for place, name in enumerate(LONGEST) if part[0].startswith(name))
    return next(ranks, len(LONGEST))


class Done(NamedTuple):
    """A process that ended: its exit status, what it printed, its seconds, and the most memory it had (MiB)."""

    status: int
    text: str
    seconds: float
    most: float


def run(part: list[str], options: list[str]) -> Done:
    """Run the tests of one part in a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", *SLOWEST, *options, *part]
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = f"{' '.join(part)}\n{printed.read()}"
    # Of Linux in KiB.
    most = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return Done(process.returncode, text, time.perf_counter() - began, most)


def main(arguments: list[str]) -> int:
    """Run all parts, or pytest with the arguments; the exit status is 0 if nothing failed."""
    marks = [] if "--slow" in arguments else ["-m", "not slow"]
    given = [a for a in arguments if a != "--slow"]
    if given:
        return subprocess.run([sys.executable, "-m", "pytest", *marks, *given], cwd=ROOT).returncode
    totals, worst = dict.fromkeys(COUNTS, 0), 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for future in as_completed([pool.submit(run, part, marks) for part in parts()]):
            done = future.result()
            print(f"{done.text}{done.seconds:.0f} s, {done.most:,.0f} MiB at most\n", flush=True)
            last = done.text.rstrip().splitlines()[-1]
            for number, word in re.findall(rf"(\d+) ({'|'.join(COUNTS)})", last):
                totals[word] += int(number)
            worst = max(worst, 0 if done.status == NO_TESTS else abs(done.status))
    failed = totals["failed"] + totals["error"]
    print(f"{totals['passed']} passed, {failed} failed, {totals['skipped']} skipped")
    return worst or int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
