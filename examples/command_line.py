"""The command line from a script: fit a file, predict another, and write one page about it.

python examples/command_line.py
"""

import subprocess
import sys

import lmeformula as lf


def command(*words: str) -> None:
    """Show a command and run it."""
    print("$ lmeformula", *words, flush=True)
    subprocess.run([sys.executable, "-m", "lmeformula", *words], check=True)


def main() -> None:
    """Write the data as CSV, and leave Python to the command."""
    lf.datasets.load("sleepstudy").to_csv("sleepstudy.csv", index=False)
    formula = "Reaction ~ Days + (Days | Subject)"
    command("parse", formula)
    command("fit", "sleepstudy.csv", formula, "--out", "results")
    command("predict", "results/fit.zip", "sleepstudy.csv", "--out", "predicted.csv")
    command("report", "results/fit.zip", "report.html")


if __name__ == "__main__":
    main()
