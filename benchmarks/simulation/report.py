"""The table of a simulation study."""

from __future__ import annotations

import platform
from collections.abc import Sequence

import numpy as np

from simulation.study import GROUPS, LEVEL, ROWS, Tally

# Chances below this are marked: of some hundred cells one is expected below a hundredth.
RARE = 1e-3
HEAD = (
    "family",
    "method",
    "parameter",
    "truth",
    "bias",
    "Monte Carlo error",
    "bias / error",
    "coverage",
    "binomial chance",
    "converged",
    "singular",
    "CPU s a fit",
)


def table(tallies: Sequence[Tally], num_sets: int) -> str:
    """The page: what was done, a row for each parameter, and what stands out."""
    lines = [
        "# Simulation study",
        "",
        f"{num_sets} data sets for each family and method: {GROUPS} groups of {ROWS} rows, `y ~ x + (1 | g)` "
        "and what stands behind a family's name, "
        "predictors and groups the same in all. Responses are drawn by NumPy, not by the package. Bias is the "
        f"mean estimate less the truth; coverage is that of {LEVEL:.0%} Wald intervals, on the scale on which "
        "each parameter is free of bounds, and the chance is that of a coverage as far off as this if it were "
        f"right. Bold: beyond {_limit():.1f} errors, or rarer than {RARE:g}. Estimates by maximum likelihood "
        "are not without bias in samples of a finite size, that of a standard deviation is about -1 % here, a "
        "tenth of its standard error, and dispersions and degrees of freedom are skewed upwards; the "
        "Laplace approximation adds its own, Monte Carlo EM does not.",
        "",
        f"Python {platform.python_version()}, NumPy {np.__version__}. `make bench-simulate`.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "| " + " | ".join(["---"] * len(HEAD)) + " |",
    ]
    for tally in tallies:
        lines += _rows(tally, num_sets)
    lines += ["", *_summary(tallies)]
    return "\n".join(lines) + "\n"


def _limit() -> float:
    from scipy import stats

    return float(-stats.norm.ppf(RARE / 2))


def _rows(tally: Tally, num_sets: int) -> list[str]:
    found = []
    ratio = tally.bias / tally.bias_error
    for j, name in enumerate(tally.names):
        far = _bold(f"{ratio[j]:+.1f}", abs(ratio[j]) > _limit())
        rare = _bold(f"{tally.chance[j]:.2g}", tally.chance[j] < RARE)
        first = j == 0
        cells = [
            tally.family if first else "",
            tally.method if first else "",
            name.replace("|", "\\|"),
            f"{tally.truth[j]:g}",
            f"{tally.bias[j]:+.4f}",
            f"{tally.bias_error[j]:.4f}",
            far,
            f"{tally.coverage[j]:.1%} of {tally.num_intervals[j]}",
            rare,
            f"{num_sets - tally.num_failed}/{num_sets}" if first else "",
            f"{tally.num_singular}" if first else "",
            f"{tally.seconds:.2f}" if first else "",
        ]
        found.append("| " + " | ".join(cells) + " |")
    return found


def _summary(tallies: Sequence[Tally]) -> list[str]:
    ratios = np.concatenate([t.bias / t.bias_error for t in tallies])
    chances = np.concatenate([t.chance for t in tallies])
    held = sum(float(np.nansum(t.inside)) for t in tallies)
    count = sum(int(t.num_intervals.sum()) for t in tallies)
    failed = sum(t.num_failed for t in tallies)
    near, far = int((np.abs(ratios) > 2).sum()), int((np.abs(ratios) > _limit()).sum())
    return [
        f"{len(tallies)} studies, {len(ratios)} parameters: {near} biases beyond two errors, {far} beyond "
        f"{_limit():.1f}; {held / count:.1%} of {count:,} intervals hold the truth, "
        f"{int((chances < 0.01).sum())} coverages have a chance below 0.01; {failed} fits did not converge.",
    ]


def _bold(text: str, is_far: bool) -> str:
    return f"**{text}**" if is_far else text
