"""The demonstration: the lecture ratings of InstEval, from one line of formula to pictures."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

import lmeformula as lf
from lmeformula.result.holdout import Holdout, holdout, split_rows
from lmeformula.result.table import Column, Table
from lmeformula.result.tables import Reference, comparison_table, reference_of
from lmeformula.startup import import_tensorflow
from lmeformula.views.plots import convergence, histogram, residual_histogram, trace
from lmeformula.views.report import has_matplotlib, save_figure
from lmeformula.views.table import to_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMULA = "ratings ~ service + (1 | students) + (1 | instructors) + (1 | departments)"

# lme4 1.1-31, lmer(y ~ service + (1|s) + (1|d) + (1|dept), InstEval, REML = FALSE)
LME4 = Reference(
    "lme4",
    estimates={
        "Intercept": 3.28258096,
        "service": -0.09258854,
        "sd(students)": 0.32552774,
        "sd(instructors)": 0.51498268,
        "sd(departments)": 0.07851926,
        "sigma": 1.17749306,
    },
    loglik=-118860.8844,
    std_errors={"Intercept": 0.0284083190952, "service": 0.0133831522786},
)


def demo(folder: Path, *, rows: int | None = None, seed: int = 0, progress: bool = True) -> lf.Fit:
    """Fit, compare, predict and draw the lecture ratings, telling what happens on standard output.

    Args:
      folder: where the pictures go; it exists.
      rows: use only about so many rows, all those of students drawn at random; 73,421 by default.
      seed: of the random numbers of fit, subset and split.
      progress: whether to show the progress of the fit on standard error.
    Returns:
      fit: the Monte Carlo EM fit of the rows. Where that was interrupted nothing follows it.
    """
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    clock = Clock()
    with clock("import of the libraries"):
        import_tensorflow()
        importlib.import_module("lmeformula.em.loop")
        importlib.import_module("lmeformula.model.joint")

    with clock("data"):
        data = lf.datasets.load("insteval")
        if rows is not None:
            data = ratings_of_some_students(data, rows, seed)

    _heading(console, "The model")
    formula = lf.parse(FORMULA)
    console.print(f"{formula}\n")
    with clock("design"):
        design = lf.design(formula, data)
    with clock("model"):
        model = lf.compile(design)
    console.print(model.graph())
    console.print(f"\n{model.equation()}")

    _heading(console, f"The fit: Monte Carlo EM on {design.n:,} rows")
    with clock("fit by Monte Carlo EM"):
        # A few draws would do here; the traces are worth looking at with more.
        fit = lf.estimate(model, method="mcem", seed=seed, num_draws=100, progress=progress)
    reference = LME4
    if design.n < lf.datasets.describe("insteval").rows:
        with clock("exact fit, to compare"):
            reference = reference_of(lf.estimate(model, method="exact"), "exact fit")
    console.print(f"{fit.outcome.value}\n")
    console.print(to_text(comparison_table(fit, reference), console.width))
    console.print(
        "The posterior of a Gaussian model is Gaussian: there the control variates take all of the "
        "Monte Carlo error away."
    )
    if fit.outcome is lf.Outcome.INTERRUPTED:
        return fit

    _heading(console, "Held-out ratings")
    with clock("fit without the held-out rows, prediction"):
        held_out = _hold_out(data, seed)
    console.print(to_text(_holdout_table(held_out), console.width))

    with clock("pictures"):
        paths = draw_pictures(fit, held_out, folder) if has_matplotlib() else []
    _heading(console, "Pictures")
    for path in paths:
        console.print(f"  {path}")
    if not paths:
        console.print(
            "None: they need matplotlib. Install it with: pip install 'lmeformula[plots]'"
        )

    _heading(console, "Time and memory")
    console.print(to_text(_cost_table(clock, fit), console.width))
    return fit


def ratings_of_some_students(data: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """Keep the ratings of students drawn at random, whole students until there are enough rows.

    Single rows drawn at random would leave a rating or two to a student, and little to learn.

    Args:
      data: the lecture ratings.
      rows: how many to have at least.
      seed: of the draw.
    Returns:
      part: at least `rows` rows, or all there are.
    """
    counts = data["students"].value_counts()
    counts = counts.iloc[np.random.default_rng(seed).permutation(len(counts))]
    enough = int(np.searchsorted(counts.cumsum(), rows)) + 1
    return data[data["students"].isin(counts.index[:enough])].reset_index(drop=True)


@dataclass(slots=True)
class Clock:
    """Wall-clock seconds of named stages, in the order they ran."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time the body of a `with`."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start


def draw_pictures(fit: lf.Fit, held_out: Holdout, folder: Path) -> list[Path]:
    """Write the pictures of the tutorial.

    Args:
      fit: by Monte Carlo EM.
      held_out: predictions of held-out rows.
      folder: where to; it exists.
    Returns:
      paths: of the pictures, in the order of the tutorial.
    """
    groups = list(dict.fromkeys(block.group for block in fit.model.design.terms))

    def draw_histograms(figure: Figure) -> None:
        for ax, group in zip(figure.subplots(1, len(groups)), groups, strict=True):
            histogram(fit, group, ax=ax)

    return [
        save_figure(
            lambda figure: convergence(fit, axes=figure.subplots(2, 3).flat),
            folder / "convergence.png",
            (10.5, 5.0),
        ),
        save_figure(
            lambda figure: trace(fit, "instructors", ax=figure.subplots()),
            folder / "traces-of-seven-instructors.png",
            (9.0, 5.0),
        ),
        save_figure(
            lambda figure: residual_histogram(
                held_out.residuals, fit.sigma, figure.subplots(), "Residuals of held-out ratings"
            ),
            folder / "residuals-of-held-out-ratings.png",
        ),
        save_figure(draw_histograms, folder / "effects.png", (4.2 * len(groups), 3.8)),
    ]


def _hold_out(data: pd.DataFrame, seed: int) -> Holdout:
    fit_rows, test_rows = split_rows(len(data), fraction=0.2, seed=seed)
    fit = lf.fit(FORMULA, data.iloc[fit_rows], method="exact", progress=False)
    return holdout(fit, data.iloc[test_rows])


def _holdout_table(held_out: Holdout) -> Table:
    predictions = {
        "mean rating of the fitted rows": held_out.rmse_mean,
        "fixed effects only": held_out.rmse_fixed,
        "fixed and random effects": held_out.rmse,
    }
    return Table(
        "",
        (
            Column("prediction of a held-out rating by", tuple(predictions), "text"),
            Column("RMSE", tuple(predictions.values())),
        ),
        (
            f"A fifth of the rows, {held_out.num_rows:,}, were held out and the model fitted to the "
            f"rest. {held_out.num_new_levels:,} of them have a student, instructor or department that "
            "is not among the rest; that factor's effect is taken as zero.",
        ),
    )


def _cost_table(clock: Clock, fit: lf.Fit) -> Table:
    seconds = clock.seconds
    stages = [*seconds, "all"]
    notes = (
        f"Of the Monte Carlo EM fit, {fit.seconds.compile:.1f} s went into compiling.",
        f"Peak memory {_peak_memory()}.",
    )
    return Table(
        "",
        (
            Column("stage", tuple(stages), "text"),
            Column("seconds", (*seconds.values(), sum(seconds.values())), "statistic"),
        ),
        notes,
    )


def _peak_memory() -> str:
    try:
        import resource
    except ImportError:  # Windows has no such account
        return "is not known on this system"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{peak * unit / 2**20:,.0f} MiB"


def _heading(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")
    console.print("-" * len(text), style="dim")
