"""Run the tests: two processes take them part by part, and each is started anew when its memory has grown.

What a process has compiled for one part serves the next, so parts that fit alike models stand together, and
the processes begin at the two ends of the list. TensorFlow keeps memory for every new shape of data until its
process ends: one process for all tests would need more than ten gigabytes. What a part prints is shown when
it has ended.

    python tests/run.py                 the tests but for the slow ones
    python tests/run.py --slow          all of them
    python tests/run.py tests/em -x     pytest, with these arguments, in one process
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
AT_ONCE = 2
# A process that had more memory (MiB) when a part ended gets no other: a part adds up to 800, and no process is
# to have more than 3,000. A new one takes some six seconds to import, and compiles again what others have.
ENOUGH = 2000.0
# Folders that are one part for each of their files; other folders are parts.
DIVIDED = (
    "checking",
    "estimation",
    "family",
    "handing",
    "inference",
    "likelihood",
    "model",
    "prediction",
    "sampling",
)
# Files that start other processes or watch their own memory have a process of their own, at the beginning.
ALONE = ("tests/test_any_argument", "tests/test_startup", "tests/test_cli")
# What is fitted alike stands together, from Laplace fits with several predictors to Monte Carlo ones. What no
# pattern tells stands in the middle, where the processes meet: these parts are short.
FIRST = (
    r"tests/likelihood/laplace/test_.*several",
    r"tests/(checking|handing|inference|prediction)/.*several",
    r"tests/(checking|handing|inference|prediction)/.*student",
    r"tests/likelihood/laplace/",
    r"tests/(checking|handing|inference|prediction)/",
    r"tests/(family|model)/",
)
LAST = (
    r"tests/truth",
    r"tests/test_docs",
    r"tests/test_\w+",
    r"lmeformula",
    r"tests/estimation/",
    r"tests/sampling",
    r"tests/em",
)
# Two processes with two threads each for products of small matrices wait for one another: they need twice the
# processor time, and no less time.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
# Of pytest, for no tests.
NO_TESTS = 5
# What each part says of its slowest tests: those that could be done without belong into slow.txt.
SLOWEST = ("--durations=10", "--durations-min=3")
COUNTS = ("passed", "failed", "error", "skipped", "xfailed")


def parts() -> list[str]:
    """Every folder and file of tests once, and the package's doctests, in the order of `FIRST` and `LAST`."""
    tests = ROOT / "tests"
    found = ["lmeformula", *(f"tests/{path.name}" for path in tests.glob("test_*.py"))]
    for folder in (path for path in tests.iterdir() if path.is_dir()):
        files = [str(path.relative_to(ROOT)) for path in folder.rglob("test_*.py")]
        found += files if folder.name in DIVIDED else [f"tests/{folder.name}"] if files else []
    return sorted(found, key=lambda part: (_rank(part), part))


def _rank(part: str) -> int:
    """The place of a part's kind in the list."""
    if part.startswith(ALONE):
        return -1
    for place, pattern in enumerate(FIRST):
        if re.match(pattern, part):
            return place
    middle = len(FIRST)
    return next(
        (middle + 1 + p for p, pattern in enumerate(LAST) if re.match(pattern, part)), middle
    )


class Done(NamedTuple):
    """A part that ended: its exit status, what it printed, its seconds, and the memory of its process (MiB)."""

    status: int
    text: str
    seconds: float
    most: float


class Worker:
    """A process that runs parts, one after the other."""

    def __init__(self, options: list[str]) -> None:
        self.printed = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        answers, told = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, __file__, f"--worker={told}", *options],
            cwd=ROOT,
            env={**os.environ, **ONE_THREAD},
            stdin=subprocess.PIPE,
            stdout=self.printed,
            stderr=subprocess.STDOUT,
            pass_fds=(told,),
            text=True,
        )
        os.close(told)
        self.answers = os.fdopen(answers)

    def run(self, part: str) -> Done:
        """Have it run a part."""
        began, place = time.perf_counter(), os.fstat(self.printed.fileno()).st_size
        assert self.process.stdin
        print(part, file=self.process.stdin, flush=True)
        answer = self.answers.readline()
        self.printed.seek(place)
        text = f"{part}\n{self.printed.read()}"
        seconds = time.perf_counter() - began
        if not answer:
            # It was killed, or left by a test.
            return Done(self.process.wait() or 1, text, seconds, ENOUGH + 1)
        status, most = json.loads(answer)
        return Done(status, text, seconds, most)

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.answers.close()
        self.printed.close()


def work(told: int, options: list[str]) -> None:
    """Be a worker: run the parts that standard input names, and tell how each ended."""
    os.set_inheritable(told, False)
    sys.path.insert(0, str(ROOT))
    import pytest

    named, sys.stdin = sys.stdin, open(os.devnull)  # noqa: PTH123, SIM115 - for as long as the process
    for part in iter(named.readline, ""):
        status = pytest.main(["-q", *SLOWEST, *options, part.strip()])
        sys.stdout.flush()
        # Of Linux in KiB.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        os.write(told, f"{json.dumps([int(status), most])}\n".encode())
        # What one part leaves is not looked through again and again in the next ones.
        gc.freeze()


class Report:
    """Shows what ended, and counts."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.totals, self.worst, self.most = dict.fromkeys(COUNTS, 0), 0, 0.0

    def add(self, done: Done) -> None:
        """Show a part."""
        last = (done.text.rstrip().splitlines() or [""])[-1]
        with self.lock:
            print(f"{done.text}{done.seconds:.0f} s, {done.most:,.0f} MiB at most\n", flush=True)
            for number, word in re.findall(rf"(\d+) ({'|'.join(COUNTS)})", last):
                self.totals[word] += int(number)
            self.worst = max(self.worst, 0 if done.status == NO_TESTS else abs(done.status))
            self.most = max(self.most, done.most)


def take(queue: deque[str], from_end: bool, options: list[str], report: Report) -> None:
    """Have the parts run from one end of the list on, until there are none."""
    worker: Worker | None = None
    while queue:
        try:
            part = queue.pop() if from_end else queue.popleft()
        except IndexError:
            break
        alone = part.startswith(ALONE)
        if worker and alone:
            worker.end()
            worker = None
        worker = worker or Worker(options)
        done = worker.run(part)
        report.add(done)
        if alone or done.most > ENOUGH:
            worker.end()
            worker = None
    if worker:
        worker.end()


def main(arguments: list[str]) -> int:
    """Run all parts, or pytest with the arguments; the exit status is 0 if nothing failed."""
    if arguments and arguments[0].startswith("--worker="):
        work(int(arguments[0].partition("=")[2]), arguments[1:])
        return 0
    marks = [] if "--slow" in arguments else ["-m", "not slow"]
    if not marks:
        os.environ["LMEFORMULA_ALL_EXAMPLES"] = "1"
    given = [a for a in arguments if a != "--slow"]
    if given:
        return subprocess.run([sys.executable, "-m", "pytest", *marks, *given], cwd=ROOT).returncode
    began, queue, report = time.perf_counter(), deque(parts()), Report()
    takers = [
        threading.Thread(target=take, args=(queue, side % 2 == 1, marks, report), daemon=True)
        for side in range(AT_ONCE)
    ]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    failed = report.totals["failed"] + report.totals["error"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{time.perf_counter() - began:.0f} s, {used.ru_utime + used.ru_stime:.0f} s of processors, "
        f"{report.most:,.0f} MiB at most in a process"
    )
    print(f"{report.totals['passed']} passed, {failed} failed, {report.totals['skipped']} skipped")
    return report.worst or int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
