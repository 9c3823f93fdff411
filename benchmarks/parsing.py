"""How long parsing takes: the tutorial's formula, a malformed one, and sizes up to 20,000 terms.

Prints seconds of process time, the best of several runs, and seconds per term, which should not grow.
"""

from __future__ import annotations

import time

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import parse

RUNS = 3
TUTORIAL = "ratings ~ service + (1|students) + (1|instructors) + (1|departments)"


def seconds(text: str) -> float:
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        try:
            parse(text)
        except FormulaSyntaxError as error:
            str(error)
        times.append(time.process_time() - start)
    return min(times)


def main() -> None:
    start = time.process_time()
    parse(TUTORIAL)
    print(f"{'first parse, grammar compiled':42} {time.process_time() - start:8.4f} s")
    print(f"{'tutorial formula':42} {seconds(TUTORIAL):8.4f} s")
    start = time.process_time()
    try:
        parse("y ~ x + (1|)")
    except FormulaSyntaxError as error:
        str(error)
    print(f"{'first mistake, examples read':42} {time.process_time() - start:8.4f} s")
    print(f"{'a mistake':42} {seconds('y ~ x + (1|)'):8.4f} s")
    shapes = {
        "columns": lambda n: "y ~ " + " + ".join(f"x{i}" for i in range(n)),
        "calls": lambda n: "y ~ " + " + ".join(f"log(x{i})" for i in range(n)),
        "random-effects terms": lambda n: "y ~ " + " + ".join(f"(x{i} || g{i})" for i in range(n)),
        "removals": lambda n: "y ~ x" + " - x + x" * n,
        "nested parentheses": lambda n: "y ~ " + "(" * n + "x" + ")" * n,
    }
    for name, text in shapes.items():
        for n in (1_250, 2_500, 5_000, 10_000, 20_000):
            taken = seconds(text(n))
            print(f"{n:>8,} {name:33} {taken:8.4f} s {taken / n * 1e6:8.1f} microseconds each")


if __name__ == "__main__":
    main()
