"""How long a user waits for `import lmeformula`, for `lf.parse`, and for what they keep waiting.

Prints the seconds of fresh interpreters, the median of several runs each, beyond a bare interpreter's start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 7
CASES = {
    "import lmeformula": "import lmeformula",
    "... and parse a formula": "import lmeformula as lf; lf.parse('y ~ x + (x | g)')",
    "... and list the data sets": "import lmeformula as lf; lf.datasets.names()",
    "import pandas": "import pandas",
    "import tensorflow_probability": "import tensorflow_probability",
}


def seconds(code: str) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    bare = seconds("pass")
    print(f"{'bare interpreter':<32} {bare:7.3f} s")
    for name, code in CASES.items():
        print(f"{name:<32} {seconds(code) - bare:+7.3f} s")


if __name__ == "__main__":
    main()
