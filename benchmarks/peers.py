"""One fit by this library and by each installed peer, in turn: seconds, as ratios, and the answers beside them.

    python benchmarks/peers.py [--repetitions N] [--peers-python PATH]

Data are in memory and every tool is warm: the first fit of each process is not counted. A peer that is not
installed for PATH (default: this interpreter) is left out, and said to be. The answer of each is shown as the
difference of its log-likelihood from ours, so that a fast wrong answer shows as wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = ROOT / "lmeformula" / "data"

# What each process runs: `fit()` returns the log-likelihood. InstEval and sleepstudy as lme4 names them.
READ = f"""
import sys, time, json, warnings
warnings.simplefilter("ignore")
import numpy as np, pandas as pd
model = sys.argv[1]
name = "sleepstudy" if model == "sleepstudy" else "InstEval"
data = pd.read_csv({str(DATA)!r} + "/" + name + ".csv.gz")
if name == "InstEval":
    data = data[["y", "service", "s", "d", "dept"]].astype(dict(s=str, d=str, dept=str))
    data["good"] = (data["y"] >= 4).astype(int)
else:
    data["Subject"] = data["Subject"].astype(str)
formula = {{
    "gaussian": "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
    "binary, Laplace": "good ~ service + (1 | s) + (1 | d) + (1 | dept)",
    "binary, mcem": "good ~ service + (1 | s) + (1 | d) + (1 | dept)",
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
}}[model]
"""
RUN = """
fit()
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    value = fit()
    print("result", json.dumps([time.perf_counter() - start, value]), flush=True)
"""
TOOLS = {
    "lmeformula": """
import lmeformula as lf
family = "gaussian" if model in ("gaussian", "sleepstudy") else "bernoulli"
method = "mcem" if model.endswith("mcem") else "auto" if family == "gaussian" else "laplace"
def fit():
    return float(lf.fit(formula, data, family, method=method, progress=False).loglik)
""",
    "glmm": """
import glmm
family = "gaussian" if model in ("gaussian", "sleepstudy") else "binomial"
def fit():
    options = {"reml": False, "satterthwaite": False} if family == "gaussian" else {}
    return float(glmm.fit(data, formula, family, **options).loglik)
""",
    "gpboost": """
import gpboost
if model == "sleepstudy":
    raise ImportError("not set up for correlated slopes here")
X = np.column_stack([np.ones(len(data)), data["service"]])
likelihood, y = ("gaussian", data["y"]) if model == "gaussian" else ("bernoulli_logit", data["good"])
def fit():
    found = gpboost.GPModel(group_data=data[["s", "d", "dept"]], likelihood=likelihood)
    found.fit(y=y.to_numpy(float), X=X)
    return -float(found.get_current_neg_log_likelihood())
""",
}
MODELS = {
    "gaussian": ("lmeformula", "glmm", "gpboost"),
    "binary, Laplace": ("lmeformula", "glmm", "gpboost"),
    "binary, mcem": ("lmeformula",),
    "sleepstudy": ("lmeformula", "glmm"),
}


def run(tool: str, model: str, python: str, repetitions: int) -> list[tuple[float, float]] | str:
    """(seconds, log-likelihood) of each repetition, or why there are none."""
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", PYTHONPATH=str(ROOT))
    interpreter = sys.executable if tool == "lmeformula" else python
    done = subprocess.run(
        [interpreter, "-c", READ + TOOLS[tool] + RUN, model, str(repetitions)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("result ")]
    if done.returncode != 0 or not lines:
        return (done.stderr.strip().splitlines() or ["no output"])[-1]
    return [tuple(json.loads(line.removeprefix("result "))) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--peers-python", default=sys.executable)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}\n")
    print("| model | tool | seconds | ratio to ours | log-likelihood less ours |")
    print("| --- | --- | --- | --- | --- |")
    for model, tools in MODELS.items():
        ours: tuple[float, float] | None = None
        for tool in tools:
            found = run(tool, model, options.peers_python, options.repetitions)
            if isinstance(found, str):
                print(f"| {model} | {tool} | left out: {found} | | |", flush=True)
                continue
            seconds = statistics.median(second for second, _ in found)
            value = found[-1][1]
            ours = (seconds, value) if ours is None else ours
            ratio, less = seconds / ours[0], value - ours[1]
            print(f"| {model} | {tool} | {seconds:.4g} | {ratio:.2f} | {less:+.4f} |", flush=True)


if __name__ == "__main__":
    main()
