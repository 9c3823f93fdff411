"""Run one tool on one case in a process of its own, and read what it reports."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from comparison.cases import ROOT, Case, Entrant
from comparison.simulated import named

PEERS = ROOT / "benchmarks" / "peers"
OURS = ("lmeformula", "tutorial")


class Result(NamedTuple):
    """One timed fit.

    Attributes:
      seconds: of what the case times.
      cpu: processor seconds of the same, of all cores.
      loglik: of the fit, or nan.
      sds: by "group" or "group:column"; those that the tool gives.
      largest_error: largest Monte Carlo error over its standard error, or nan.
      version: of the tool.
    """

    seconds: float
    cpu: float
    loglik: float
    sds: dict[str, float]
    largest_error: float
    version: str


class Failed(NamedTuple):
    """Why there is no result."""

    reason: str


class Runner:
    """Starts the tools; keeps the data that they read and the compilation caches in a folder.

    Args:
      folder: an empty folder.
      peers_python: interpreter that the Python peers are installed for.
      repetitions: timed fits of a warm process.
      timeout: seconds after which a process is stopped.
    """

    def __init__(self, folder: Path, peers_python: str, repetitions: int, timeout: float) -> None:
        self.peers_python = peers_python
        self.repetitions = repetitions
        self.timeout = timeout
        self.folder = folder
        self.filled: set[str] = set()

    def run(self, case: Case, entrant: Entrant) -> list[Result] | Failed:
        """Run a tool once: several timed fits where the case is a warm one, else one."""
        if entrant.tool in OURS and case.mode == "first, cached" and case.name not in self.filled:
            filling = self._start(case, entrant, 0)
            if isinstance(filling, Failed):
                return filling
            self.filled.add(case.name)
        is_warm = case.mode == "warm"
        return self._start(case, entrant, 0 if not is_warm else self._fits(entrant))

    def _fits(self, entrant: Entrant) -> int:
        return 0 if entrant.slow else self.repetitions

    def _start(self, case: Case, entrant: Entrant, more: int) -> list[Result] | Failed:
        command = self._command(case, entrant, more)
        if isinstance(command, Failed):
            return command
        began, busy = time.perf_counter(), _children_cpu()
        try:
            done = subprocess.run(
                command,
                env=self._environment(case, entrant),
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Failed(f"stopped after {self.timeout:g} s")
        whole, whole_cpu = time.perf_counter() - began, _children_cpu() - busy
        lines = [line for line in done.stdout.splitlines() if line.startswith("result ")]
        if done.returncode != 0 or not lines:
            said = done.stderr.strip().splitlines() or ["no output"]
            return Failed(said[-1][:120])
        found = [_read(json.loads(line.removeprefix("result "))) for line in lines]
        if case.mode == "process":
            return [found[0]._replace(seconds=whole, cpu=whole_cpu)]
        return found[1:] if len(found) > 1 else found

    def _command(self, case: Case, entrant: Entrant, more: int) -> list[str] | Failed:
        arguments = [
            str(self._data(case)),
            case.formula,
            case.kind,
            ",".join(case.factors),
            entrant.method or "-",
            str(more),
        ]
        script = PEERS / f"{entrant.tool}.R"
        if script.exists():
            program = shutil.which("Rscript")
            if program is None:
                return Failed("no Rscript")
            return [program, "--vanilla", str(script), *arguments]
        python = sys.executable if entrant.tool in OURS else self.peers_python
        return [python, str(PEERS / f"{entrant.tool}.py"), *arguments]

    def _environment(self, case: Case, entrant: Entrant) -> dict[str, str]:
        environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONWARNINGS="ignore")
        if entrant.tool in OURS:
            environment["PYTHONPATH"] = str(ROOT)
            # A cache of this run's own: neither an earlier run nor the user's has filled it.
            name = case.name if case.mode == "first, cached" else f"cold-{time.monotonic_ns()}"
            cache = self.folder / "cache" / name
            cache.mkdir(parents=True, exist_ok=True)
            environment["TF_XLA_FLAGS"] = f"--tf_xla_persistent_cache_directory={cache}"
        return environment

    def _data(self, case: Case) -> Path:
        """The case's data as a plain CSV file, with the columns that it derives."""
        import pandas as pd

        path = self.folder / f"{case.data}.csv"
        if not path.exists():
            shipped = ROOT / "lmeformula" / "data" / f"{case.data}.csv.gz"
            data = pd.read_csv(shipped) if shipped.exists() else named(case.data)
            if case.data == "InstEval":
                data["good"] = (data["y"] >= 4).astype(int)
            if case.data == "grouseticks" and "cHEIGHT" not in data:
                data["cHEIGHT"] = data["HEIGHT"] - data["HEIGHT"].mean()
            data.to_csv(path, index=False)
        return path


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _read(record: dict[str, Any]) -> Result:
    return Result(
        seconds=float(record["seconds"]),
        cpu=float(record["cpu"]),
        loglik=float(record["loglik"]),
        sds={str(k): float(v) for k, v in record["sds"].items()},
        largest_error=float(record.get("error", "nan")),
        version=str(record["version"]),
    )
