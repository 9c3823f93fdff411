"""Processor milliseconds of a refit: one by one, and of many responses side by side.

    python benchmarks/refits_cost.py [NUM_RESPONSES]

A line for each model: drawing a response, refitting alone, refitting among others without and with standard
errors, and how many of the others had to be fitted alone all the same.

Processor milliseconds of a bootstrap's refit, draws included, on a machine with four jobs for each processor:
sleepstudy .33, cbpp by Laplace .79, of which a prototype without other starts took .40 for the ascents alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import lmeformula as lf
from lmeformula.inference.in_turn import MOST_AT_A_TIME
from lmeformula.inference.refit import refit_alone
from lmeformula.inference.refits import fits_together
from lmeformula.prediction.simulate import responses, sampler_of, with_drawn

CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
MODELS: dict[str, tuple[str, str, dict[str, object]]] = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {}),
    "sleepstudy, REML": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {"reml": True}),
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", "dyestuff", {}),
    "cbpp, laplace": (CBPP, "cbpp", {"family": "binomial", "method": "laplace"}),
    "cbpp, quadrature": (CBPP, "cbpp", {"family": "binomial", "method": "quadrature"}),
}
ALONE = 20


def milliseconds(call: Callable[[], object], count: int) -> float:
    """Of a processor, of each of so many that a call makes."""
    start = time.process_time()
    call()
    return 1e3 * (time.process_time() - start) / count


def line(fit: lf.Fit, count: int) -> str:
    """The figures of one model."""
    sampler = sampler_of(fit)
    designs = [with_drawn(fit, drawn) for drawn in responses(sampler, count, 3)]
    together = fits_together(fit)
    assert together is not None
    size = min(MOST_AT_A_TIME, together.at_a_time)
    parts, some = [designs[i : i + size] for i in range(0, count, size)], designs[:ALONE]
    # What is imported or compiled once.
    refit_alone(fit, designs[0])
    left = sum(int((~together(part, False).found).sum()) for part in parts)
    drawing = milliseconds(lambda: list(responses(sampler, count, 3)), count)
    alone = milliseconds(lambda: [refit_alone(fit, one) for one in some], ALONE)
    quick = milliseconds(lambda: [together(part, False) for part in parts], count)
    whole = milliseconds(lambda: [together(part, True) for part in parts], count)
    return f"{drawing:9.3f}{alone:9.2f}{quick:10.3f}{whole:9.3f}{left:7d}"


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'':20}{'draw':>9}{'alone':>9}{'together':>10}{'errors':>9}{'left':>7}")
    for name, (formula, data, options) in MODELS.items():
        fit = lf.fit(formula, lf.datasets.load(data), progress=False, **options)
        print(f"{name:20}{line(fit, count)}", flush=True)


if __name__ == "__main__":
    main()
