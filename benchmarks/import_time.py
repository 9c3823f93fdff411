"""What a user waits for: `import lmeformula`, `lf.parse`, a first small fit, and what none of them should load.

Prints processor seconds of fresh interpreters, the median of several runs each, beyond a bare interpreter's
start. Bytecode is kept between the runs, as that of an installed package is.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile

RUNS = 10
SLEEP = (
    "lf.fit('Reaction ~ Days + (Days | Subject)', lf.datasets.load('sleepstudy'), progress=False)"
)
CASES = {
    "import lmeformula": "import lmeformula",
    "... and parse a formula": "import lmeformula as lf; lf.parse('y ~ x + (x | g)')",
    "... and list the data sets": "import lmeformula as lf; lf.datasets.names()",
    "... and load what fits": "import lmeformula as lf; lf.fit",
    "... and fit exactly": f"import lmeformula as lf; {SLEEP}",
    "import pandas": "import pandas",
    "import tensorflow_probability": "import tensorflow_probability",
}


def seconds(code: str, bytecode: str) -> float:
    """Median processor seconds of an interpreter that runs the code, after one that compiles it."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    times = []
    for _ in range(RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-c", code]
        subprocess.run(command, check=True, capture_output=True, env=environment)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(times[1:])


def main() -> None:
    with tempfile.TemporaryDirectory() as bytecode:
        bare = seconds("pass", bytecode)
        print(f"{'bare interpreter':<32} {bare:7.3f} s")
        for name, code in CASES.items():
            print(f"{name:<32} {seconds(code, bytecode) - bare:+7.3f} s", flush=True)


if __name__ == "__main__":
    main()
