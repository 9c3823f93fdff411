"""The comparison with other packages: its table of cases, its judgement, and its report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from comparison import report  # noqa: E402
from comparison.cases import MODES, Entrant, all_cases  # noqa: E402
from comparison.report import Measured, Row, best_peer, verdict  # noqa: E402
from comparison.runner import Failed, Result, Runner  # noqa: E402

CASES = {case.name: case for case in all_cases()}
RIGHT = CASES["gaussian"].truth


def result(seconds: float, loglik: float | None = None, **sds: float) -> Result:
    return Result(
        seconds, seconds, loglik or RIGHT.loglik, {**RIGHT.sds, **sds}, float("nan"), "1.0"
    )


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    case = CASES[name]
    assert case.mode in MODES
    assert case.entrants[0].tool == "lmeformula"
    for entrant in case.entrants:
        assert any(
            (BENCHMARKS / "peers" / f"{entrant.tool}{end}").exists() for end in (".py", ".R")
        )


def test_a_wrong_answer_is_shown_as_wrong():
    assert verdict(RIGHT, result(1.0)) == "right"
    assert verdict(RIGHT, result(1.0, s=RIGHT.sds["s"] * 1.004)) == "right"
    assert "sd(s) is 1, not 0.3255" in verdict(RIGHT, result(1.0, s=1.0))
    assert "log-likelihood off by -0.5" in verdict(RIGHT, result(1.0, RIGHT.loglik - 0.5))
    # One that has no log-likelihood is judged by the rest.
    assert verdict(RIGHT, result(1.0, float("nan"))) == "right"
    missing = result(1.0)._replace(sds={})
    assert "no sd of dept" in verdict(RIGHT, missing)


def test_a_fast_wrong_peer_is_not_the_best():
    ours, fast, slow = Entrant("lmeformula"), Entrant("glmm"), Entrant("lme4")
    rows = [
        Row(ours, [result(1.0)], ""),
        Row(fast, [result(0.1, s=1.0)], ""),
        Row(slow, [result(5.0), result(7.0), result(6.0)], ""),
    ]
    best = best_peer(Measured(CASES["gaussian"], rows))
    assert best is rows[2]
    assert best.seconds == 6.0


def test_report(tmp_path):
    case = CASES["gaussian"]
    rows = [
        Row(Entrant("lmeformula", "exact"), [result(1.0)], ""),
        Row(Entrant("glmm"), [result(2.0)], ""),
        Row(Entrant("lme4"), [], "not run: slow (--slow)"),
        Row(Entrant("mixedlm"), [result(0.5, s=1.0)], ""),
    ]
    path = tmp_path / "RESULTS.md"
    report.write([Measured(case, rows)], path, (0.5, 0.7))
    text = path.read_text()
    assert "| InstEval, Gaussian ML | warm | 1 | glmm | 2 | 0.5 | 0.5 | 0.5 |" in text
    assert "| lme4 |  | not run: slow (--slow) |" in text
    assert "| mixedlm 1.0 |  | 0.5 |" in text
    assert "**wrong**: sd(s) is 1" in text
    # Every line of a table has as many cells as its head.
    cells = 0
    for line in text.splitlines():
        if line.startswith("| --- "):
            assert line.count("|") == cells
        cells = line.count("|") if line.startswith("|") else 0
        assert not cells or line.endswith("|")


def test_one_case_end_to_end(tmp_path):
    """This library's worker on the smallest case, timed as a warm process and as a whole one."""
    runner = Runner(tmp_path, sys.executable, 1, 300.0)
    case = CASES["sleepstudy-refit"]
    found = runner.run(case, case.entrants[0])
    assert not isinstance(found, Failed), found
    assert len(found) >= 1
    assert verdict(case.truth, found[-1]) == "right"
    assert found[-1].largest_error == 0.0
    whole = runner.run(case._replace(mode="process"), case.entrants[0])
    assert not isinstance(whole, Failed), whole
    assert whole[0].seconds > found[-1].seconds


def test_a_peer_that_is_not_there(monkeypatch, tmp_path):
    runner = Runner(tmp_path, sys.executable, 1, 60.0)
    monkeypatch.setenv("PATH", os.devnull)
    assert runner.run(CASES["sleepstudy"], Entrant("lme4")) == Failed("no Rscript")
    found = runner.run(CASES["sleepstudy"], Entrant("mixedlm"))
    assert isinstance(found, Failed)
    assert "No module named 'mixedlm'" in found.reason


def test_command_line():
    command = [sys.executable, str(BENCHMARKS / "compare.py")]
    listed = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(CASES)
    wrong = subprocess.run([*command, "--only", "nothing"], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert "no such case: nothing" in wrong.stderr
