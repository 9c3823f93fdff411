"""The demonstration: the lecture ratings of InstEval, from one line of formula to pictures."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from rich.console import Console

import lmeformula as lf
from lmeformula.checking.ending import how_it_ended
from lmeformula.checking.holdout import Holdout, holdout, split_rows
from lmeformula.inference.tables import Reference, comparison_table, reference_of
from lmeformula.prediction.scores import category_chances, score
from lmeformula.startup import import_tensorflow
from lmeformula.text.render import to_text
from lmeformula.text.table import Column, Table
from lmeformula.views.plots import convergence, histogram, residual_histogram, trace
from lmeformula.views.report import has_matplotlib, save_figure

if TYPE_CHECKING:
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

# ordinal 2022.11-16, clmm(factor(y) ~ service + (1|s) + (1|d) + (1|dept), InstEval): the Laplace approximation
CLMM = Reference(
    "clmm (Laplace)",
    estimates={
        "service": -0.14027,
        "sd(students)": 0.4996,
        "sd(instructors)": 0.7826,
        "sd(departments)": 0.1179,
        "1|2": -2.24273,
        "2|3": -1.02622,
        "3|4": 0.16175,
        "4|5": 1.41591,
    },
    loglik=-110474.05,
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
    console, clock = _start("lmeformula.em.loop", "lmeformula.model.joint")
    with clock("data"):
        data = ratings(rows, seed)

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

    _say_cost(console, clock, fit)
    return fit


def ordinal_demo(*, rows: int | None = None, seed: int = 0, progress: bool = True) -> lf.Fit:
    """Fit the lecture ratings as ordered categories, and say what changes against the Gaussian fit.

    Args:
      rows: use only about so many rows, as in `demo`.
      seed: of the random numbers of fit, subset and split.
      progress: whether to show the progress of the fit on standard error.
    Returns:
      fit: the Monte Carlo EM fit of the rows. Where that did not converge nothing follows it.
    """
    console, clock = _start("lmeformula.em.loop")
    with clock("data, design and model"):
        data = ratings(rows, seed)
        model = lf.compile(lf.design(FORMULA, data), "cumulative")
    _heading(console, "The model")
    console.print(f"{model.equation()}\n")
    _heading(console, f"The fit: Monte Carlo EM on {model.design.n:,} rows")
    with clock("fit by Monte Carlo EM"):
        fit = lf.estimate(model, method="mcem", seed=seed, progress=progress)
    reference = CLMM
    if model.design.n < lf.datasets.describe("insteval").rows:
        with clock("Laplace fit, to compare"):
            reference = reference_of(lf.estimate(model, method="laplace"), "Laplace")
    console.print(f"{how_it_ended(fit)}\n")
    console.print(to_text(comparison_table(fit, reference), console.width))
    if not fit.converged:
        return fit
    _heading(console, "Predicted probabilities")
    console.print(to_text(_probability_table(fit), console.width))
    _heading(console, "Held-out ratings, and what changes against the Gaussian fit")
    with clock("fits without the held-out rows, predictions"):
        table = _score_table(data, seed)
    console.print(to_text(table, console.width))
    _say_cost(console, clock, fit)
    return fit


def _start(*modules: str) -> tuple[Console, Clock]:
    """A console and a clock, which has timed the import of TensorFlow and of these modules."""
    clock = Clock()
    with clock("import of the libraries"):
        import_tensorflow()
        for module in modules:
            importlib.import_module(module)
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True), clock


def ratings(rows: int | None, seed: int) -> pd.DataFrame:
    """The lecture ratings, or those of students drawn at random: see `ratings_of_some_students`."""
    data = lf.datasets.load("insteval")
    return data if rows is None else ratings_of_some_students(data, rows, seed)


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

    def draw_residuals(figure: Figure) -> None:
        title = "Residuals of held-out ratings"
        residual_histogram(held_out.residuals, fit.sigma, figure.subplots(), title)

    drawings: dict[str, tuple[Callable[[Figure], object], tuple[float, float]]] = {
        "convergence": (lambda f: convergence(fit, axes=f.subplots(2, 3).flat), (10.5, 5.0)),
        "traces-of-seven-instructors": (
            lambda f: trace(fit, "instructors", ax=f.subplots()),
            (9.0, 5.0),
        ),
        "residuals-of-held-out-ratings": (draw_residuals, (7.0, 4.5)),
        "effects": (draw_histograms, (4.2 * len(groups), 3.8)),
    }
    return [
        save_figure(draw, folder / f"{name}.png", size) for name, (draw, size) in drawings.items()
    ]


def _hold_out(data: pd.DataFrame, seed: int) -> Holdout:
    fit_rows, test_rows = split_rows(len(data), fraction=0.2, seed=seed)
    fit = lf.fit(FORMULA, data.iloc[fit_rows], method="exact", progress=False)
    return holdout(fit, data.iloc[test_rows])


def _probability_table(fit: lf.Fit) -> Table:
    """Chances of the ratings: of lectures of average students and instructors, and of instructors far apart."""
    place = [block.group for block in fit.model.design.terms].index("instructors")
    typical = fit.predict(pd.DataFrame({"service": [0, 1]}), kind="prob", re_form="NA")
    eta = np.quantile(fit.modes[place][:, 0], [0.05, 0.95])
    probabilities = fit.model.family.probabilities
    assert probabilities is not None
    chances = np.vstack([typical, probabilities(eta, fit.params.own)])
    lectures = (
        "not a service lecture",
        "a service lecture",
        "one of the worst-rated instructors",
        "one of the best-rated instructors",
    )
    columns = [Column("a lecture that is", lectures, "text")]
    columns += [Column(f"P({c})", tuple(chances[:, j])) for j, c in enumerate(typical.columns)]
    note = (
        "All else average; the worst and the best are instructors at the 5 % and the 95 % quantile of the "
        "conditional modes, in lectures that are no service."
    )
    return Table("", tuple(columns), (note,))


def _score_table(data: pd.DataFrame, seed: int) -> Table:
    fit_rows, test_rows = split_rows(len(data), fraction=0.1, seed=seed)
    fitted, held_out = data.iloc[fit_rows], data.iloc[test_rows]
    values = np.unique(data["ratings"]).tolist()
    codes = np.searchsorted(values, held_out["ratings"])
    counts = np.bincount(np.searchsorted(values, fitted["ratings"]), minlength=len(values))
    gaussian = lf.fit(FORMULA, fitted, method="exact", progress=False)
    ordinal = lf.fit(FORMULA, fitted, "cumulative", method="laplace", progress=False)
    shares = np.tile(counts / counts.sum(), (len(codes), 1))
    chances = {
        "shares of the ratings alone": shares,
        "Gaussian fit, between midpoints": category_chances(gaussian, held_out, values),
        "ordinal fit": category_chances(ordinal, held_out),
    }
    scores = [score(found, codes) for found in chances.values()]
    # Of the same rows, so that the errors of differences are smaller than those of the scores.
    differences = [scores[-1].each - found.each for found in scores[:-1]]
    distances = [d.mean(axis=0) / d.std(axis=0, ddof=1) * len(codes) ** 0.5 for d in differences]
    z_log, z_ranked = (tuple(float(d[place]) for d in distances) for place in (0, 1))
    return Table(
        "",
        (
            Column("prediction of a held-out rating by", tuple(chances), "text"),
            Column("log score", tuple(found.log_score for found in scores)),
            Column("z", (*z_log, None), "statistic"),
            Column("RPS", tuple(found.ranked for found in scores)),
            Column("z", (*z_ranked, None), "statistic"),
        ),
        (
            f"A tenth of the rows, {len(codes):,}, were held out. Log score: minus the mean logarithm of the "
            "chance that the observed rating had. RPS: ranked probability score. Of both, smaller is better.",
            "z: of the ordinal fit's scores less these, the mean over its standard error; negative where the "
            "ordinal fit is better.",
            "The ordinal fit is by the Laplace approximation; both average over the uncertainty of the "
            "predictor.",
        ),
    )


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


def _say_cost(console: Console, clock: Clock, fit: lf.Fit) -> None:
    seconds = {**clock.seconds, "all": sum(clock.seconds.values())}
    columns = (
        Column("stage", tuple(seconds), "text"),
        Column("seconds", tuple(seconds.values()), "statistic"),
    )
    notes = (
        f"Of the Monte Carlo EM fit, {fit.seconds.compile:.1f} s went into compiling.",
        f"Peak memory {_peak_memory()}.",
    )
    _heading(console, "Time and memory")
    console.print(to_text(Table("", columns, notes), console.width))


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
