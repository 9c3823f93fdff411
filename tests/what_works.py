"""What works with what: every statistic of a fit, tried on every kind of fit.

python -m tests.what_works            write the table into its page
"""

from __future__ import annotations

import functools
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import lmeformula as lf

PAGE = Path(__file__).parents[1] / "docs" / "pages" / "works.md"
BEGIN, END = "<!-- what works with what: begin -->", "<!-- what works with what: end -->"
YES = "yes"
QUIET = {"progress": False}


@functools.cache
def rows() -> pd.DataFrame:
    """160 rows in 16 groups and 5 others, with a response for each family."""
    r = np.random.default_rng(20)
    n = 160
    data = pd.DataFrame(
        {
            "x": r.normal(size=n).round(3),
            "a": np.array(list("uvw"))[r.integers(0, 3, n)],
            "g": np.array([f"g{i:02d}" for i in range(16)])[np.arange(n) % 16],
            "h": np.array(list("pqrst"))[r.integers(0, 5, n)],
        }
    )
    effect = dict(zip(sorted(set(data["g"])), r.normal(size=16), strict=True))
    eta = 0.5 * data["x"] + data["g"].map(effect) + 0.4 * (data["a"] == "v")
    data["y"] = (eta + np.exp(0.2 * data["x"]) * r.normal(size=n)).round(4)
    # Two levels far from the rest: effects with heavy tails.
    data["heavy"] = data["y"] + 5.0 * (data["g"] == "g03") - 6.0 * (data["g"] == "g10")
    data["yes"] = (r.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(int)
    data["count"] = r.poisson(np.exp(0.5 + 0.5 * eta)) * (r.random(n) < 0.8)
    data["rating"] = np.digitize(eta + r.logistic(size=n), [-1.0, 0.5]) + 1
    data["kind"] = np.array(list("klm"))[np.digitize(eta + r.logistic(size=n), [-0.8, 0.8])]
    data["n"] = r.integers(0, 4, n)
    data["g2"] = np.roll(data["g"].to_numpy(), 3)
    return data


def fit(formula: Any, family: Any = "gaussian", **options: Any) -> lf.Fit:
    return lf.fit(formula, rows(), family, **options, **QUIET)


def own_family() -> lf.Family:
    """A family of the user's own: counts by a rate."""
    import tensorflow_probability as tfp

    return lf.Family("mine", lambda mu: tfp.distributions.Poisson(mu), link="log", support="count")


# Kinds of fit, the columns of the table.
FITS: dict[str, Callable[[], lf.Fit]] = {
    "exact": lambda: fit("y ~ x + a + (1 | g)"),
    "REML": lambda: fit("y ~ x + a + (1 | g)", reml=True),
    "exact, iterative": lambda: fit("y ~ x + a + (1 | g) + (1 | h)", solver="iterative"),
    "Laplace": lambda: fit("yes ~ x + a + (1 | g)", "bernoulli", method="laplace"),
    "quadrature": lambda: fit("yes ~ x + a + (1 | g)", "bernoulli", method="quadrature"),
    "mcem": lambda: fit("yes ~ x + a + (1 | g)", "bernoulli", method="mcem"),
    "ordered": lambda: fit("rating ~ x + a + (1 | g)", "cumulative", method="laplace"),
    "formula for sigma": lambda: fit(
        {"mu": "y ~ x + a + (1 | g)", "sigma": "~ x"}, method="laplace"
    ),
    "for zeros": lambda: fit(
        {"mu": "count ~ x + a + (1 | g)", "zi": "~ x"}, "zero_inflated_poisson", method="laplace"
    ),
    "categories": lambda: fit("kind ~ x + a + (1 | g)", "categorical", method="laplace"),
    "t effects": lambda: fit('heavy ~ x + a + (1 | gr(g, dist = "student"))'),
    "members": lambda: fit("y ~ x + a + (1 | mm(g, g2))"),
    "own family": lambda: fit("count ~ x + a + (1 | g)", own_family(), method="laplace"),
    "frequency": lambda: fit("count ~ x + a + (1 | g)", "poisson", method="laplace", frequency="n"),
    "priors": lambda: fit("y ~ x + a + (1 | g)", priors={"b": "normal(0, 2)", "sd": "gamma(2, 1)"}),
    "nuts": lambda: fit("y ~ x + a + (1 | g)", method="nuts", num_draws=100, num_warmup=100),
    "vi": lambda: fit("y ~ x + a + (1 | g)", method="vi", num_draws=100),
    "loaded": lambda: saved(fit("y ~ x + a + (1 | g)")),
}


def saved(found: lf.Fit) -> lf.Fit:
    """A fit that was saved without its rows, and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        return lf.load(found.save(Path(folder) / "fit.zip"))


@functools.cache
def made(kind: str) -> lf.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lf.LmeFormulaWarning)
        return FITS[kind]()


def new_rows() -> pd.DataFrame:
    """Rows whose first group no fit has seen."""
    return rows().head(4).assign(g=["never", "g01", "g02", "g03"])


def other_response(found: lf.Fit) -> Any:
    if found.model.design.frequency is not None:
        return found.model.design.y[::-1]
    return found.simulate(1, seed=3).iloc[:, 0]


def smaller(found: lf.Fit) -> lf.Fit:
    return lf.Fit.of(found.update("~ . - x", rows()))


def export(found: lf.Fit) -> object:
    with tempfile.TemporaryDirectory() as folder:
        return found.export(Path(folder) / "served")


def drawn(plot: Callable[[lf.Fit], Any]) -> Callable[[lf.Fit], object]:
    """A plot whose figure is closed again."""

    def draw(found: lf.Fit) -> object:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        try:
            return plot(found)
        finally:
            plt.close("all")

    return draw


# What follows a fit, the rows of the table.
STATISTICS: dict[str, Callable[[lf.Fit], object]] = {
    "`summary()`, `tidy()`, `glance()`": lambda f: (str(f.summary()), f.tidy(), f.glance()),
    "`ranef()`, `coef()`, `varcorr`": lambda f: (f.ranef(), f.coef(), f.varcorr.to_frame()),
    "`diagnostics`, `certificate`": lambda f: (str(f.diagnostics), f.certificate),
    "`predict()` of its rows": lambda f: (f.predict(kind=_scale(f)), f.predict(kind="link")),
    "`predict(new)`": lambda f: f.predict(new_rows(), kind=_scale(f), new_levels="population"),
    '`predict(new, new_levels="sample")`': lambda f: f.predict(
        new_rows(), kind=_scale(f), new_levels="sample"
    ),
    '`predict(re_form="~ ...")`': lambda f: f.predict(
        new_rows().tail(3), kind=_scale(f), re_form=_some(f)
    ),
    '`predict(interval="confidence")`': lambda f: f.predict(kind=_scale(f), interval="confidence"),
    '`predict(interval="prediction")`': lambda f: f.predict(
        new_rows(), interval="prediction", new_levels="sample", num_draws=200
    ),
    '`predict(kind="draws")`': lambda f: f.predict(kind="draws", num_draws=20),
    "`predict(averaged=True)`": lambda f: f.predict(kind=_scale(f), averaged=True),
    "`simulate()`": lambda f: f.simulate(2, newdata=rows()),
    "`residuals()`, `fitted()`": lambda f: (f.fitted(), f.residuals(), f.residuals("pearson")),
    '`residuals("quantile")`, `plot.qq()`': drawn(lambda f: (f.residuals("quantile"), f.plot.qq())),
    '`residuals("deviance")`': lambda f: f.residuals("deviance"),
    "`augment()`": lambda f: f.augment(),
    "`check()`": lambda f: str(f.check()),
    "`plot.ppc()`": drawn(lambda f: f.plot.ppc()),
    "`plot.calibration()`": drawn(lambda f: f.plot.calibration()),
    "`confint()`": lambda f: f.confint(),
    '`confint("profile")`': lambda f: f.confint("profile", parm=_slope(f)),
    '`confint("boot")`': lambda f: f.confint("boot", num_refits=100),
    "`anova(other)`": lambda f: str(f.anova(smaller(f))),
    "`drop1()`": lambda f: f.drop1(),
    '`drop1("F")`, `joint_tests()`': lambda f: (f.drop1("F"), f.joint_tests()),
    "`tidy(ddf=...)`": lambda f: f.tidy(ddf="satterthwaite"),
    "`emmeans()`, contrasts": lambda f: str(f.emmeans("a").contrasts("pairwise")),
    '`emmeans(var="x")`': lambda f: str(f.emmeans("a", var="x")),
    "`r2()`, `icc()`": lambda f: (str(f.r2()), f.icc()),
    "`cross_validate()`": lambda f: str(f.cross_validate(4)),
    "`update()`": lambda f: f.update("~ . - a", rows()),
    "`refit(y)`": lambda f: f.refit(other_response(f)),
    "`save()`, `lf.load()`": lambda f: saved(f) if f.model.family.name != "mine" else _own(f),
    "`export()`": export,
    "`to_arviz()`": lambda f: f.to_arviz(num_draws=20),
    "`joint`, `joint_for(new)`": lambda f: (f.joint, f.joint_for(rows().head(8))),
}


def _scale(found: lf.Fit) -> str:
    """Means, or chances where categories have no mean."""
    response = found.model.design.response
    assert response is not None
    return "prob" if response.kind == "categorical" else "response"


def _slope(found: lf.Fit) -> str:
    return next(name for name in found.param_names if name.startswith("x"))


def _some(found: lf.Fit) -> str:
    group = found.formula.random[0].group
    if group.distribution == "student":
        return '~ (1 | gr(g, dist = "student"))'
    return f"~ (1 | {group.members or 'g'})"


def _own(found: lf.Fit) -> lf.Fit:
    with tempfile.TemporaryDirectory() as folder:
        path = found.save(Path(folder) / "fit.zip")
        return lf.load(path, family=own_family())


class Cell(NamedTuple):
    """Whether a statistic works on a kind of fit; where not, what it says."""

    works: bool
    words: str = ""


def tried(statistic: str, kind: str) -> Cell:
    """Try one cell: it works, or is refused in words of ours; what else it raises is a fault."""
    found = made(kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            STATISTICS[statistic](found)
    except lf.LmeFormulaError as refusal:
        return Cell(False, str(refusal).split("\n", 1)[0])
    return Cell(True)


def table(cells: dict[tuple[str, str], Cell]) -> str:
    """The table in Markdown, each refusal a note."""
    notes: dict[str, int] = {}
    lines = ["| | " + " | ".join(FITS) + " |", "| --- |" + " --- |" * len(FITS)]
    for statistic in STATISTICS:
        row = [statistic]
        for kind in FITS:
            cell = cells[statistic, kind]
            note = 0 if cell.works else notes.setdefault(_note(cell.words), len(notes) + 1)
            row.append(YES if cell.works else f"[{note}]")
        lines.append("| " + " | ".join(row) + " |")
    lines.append("")
    lines += [f"{number}. {words}." for words, number in notes.items()]
    return "\n".join(lines)


def _note(words: str) -> str:
    """A refusal without the name of the family that was asked."""
    return re.sub(r"\b(a|the) [\w\[\]]+ (fit|family|model)\b", r"this \2", words)


def shown() -> dict[tuple[str, str], bool]:
    """The table that the page has: whether each cell works."""
    text = PAGE.read_text("utf-8")
    body = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    lines = [line for line in body.splitlines() if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r" \| ", line.strip("| "))] for line in lines]
    kinds = split[0]
    return {
        (row[0], kind): value == YES
        for row in split[2:]
        for kind, value in zip(kinds, row[1:], strict=True)
    }


def main() -> int:
    """Try every cell, and write the table."""
    cells = {}
    for kind in FITS:
        for statistic in STATISTICS:
            cells[statistic, kind] = tried(statistic, kind)
            sys.stderr.write(f"{kind}, {statistic}: {cells[statistic, kind]}\n")
    text = PAGE.read_text("utf-8")
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:start]}\n\n{table(cells)}\n\n{text[stop:]}", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
