"""View stage: one HTML page of a fit, with its tables and pictures inside; it needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmeformula.checking.leave_one_out import has_leave_one_out
from lmeformula.design.absent import has_rows
from lmeformula.files import write_whole
from lmeformula.fit import FittedModel
from lmeformula.inference.tidy import tidy
from lmeformula.text.render import to_html
from lmeformula.text.table import Column, Table
from lmeformula.views.calibration_plots import calibration
from lmeformula.views.fit_plots import qq
from lmeformula.views.plots import residuals
from lmeformula.views.report import MOST_PANELS, draw_convergence, draw_effects, has_matplotlib
from lmeformula.views.report import picture as picture_bytes
from lmeformula.views.summary import Summary, summary

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DPI = 130
# Paper and ink of the page and of its pictures.
LIGHT = {"paper": "#ffffff", "ink": "#1f2328", "faint": "#59636e", "line": "#d1d9e0"}
DARK = {"paper": "#0f1318", "ink": "#e6e9ee", "faint": "#9aa4b1", "line": "#333b45"}


class Picture(NamedTuple):
    """One picture of a page.

    Attributes:
      title: its heading.
      caption: what is seen, one sentence.
      draw: puts axes on a figure and draws on them.
      height: of the figure in inches.
    """

    title: str
    caption: str
    draw: Callable[[Figure], object]
    height: float = 4.2


def write_page(fit: FittedModel, path: Path, tell: Callable[[str], None] | None = None) -> Path:
    """Write the page of a fit; a file of this name is replaced.

    Args:
      fit: a fitted model.
      path: of the file.
      tell: told the title of each picture before it is drawn.
    Returns:
      path: as given.
    Raises:
      OSError: if the file cannot be written.
    """
    return write_whole(path, page(fit, tell))


def page(fit: FittedModel, tell: Callable[[str], None] | None = None) -> str:
    """Lay a fit out as one HTML page, light or dark as the reader's system is.

    Args:
      fit: a fitted model.
      tell: told the title of each picture before it is drawn.
    Returns:
      text: a whole HTML document; pictures where matplotlib is installed.
    """
    facts = summary(fit)
    sections = [_head(fit, facts)]
    sections += [_scrolling(to_html(table)) for table in facts.tables if table.num_rows]
    sections.append(_scrolling(to_html(interval_table(tidy(fit)))))
    if has_matplotlib():
        for picture in pictures(fit):
            if tell is not None:
                tell(picture.title)
            sections.append(_figure(picture))
        if not has_rows(fit.model.design):
            sections.append(
                "<p class='note'>The fit was saved without the rows of its data: pictures of residuals are "
                "left out.</p>"
            )
    sections.append(_scrolling(to_html(effort_table(fit))))
    title = html.escape(" ".join(str(fit.formula).split()))
    body = "\n".join(f"<section>{section}</section>" for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_style()}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def pictures(fit: FittedModel) -> list[Picture]:
    """The pictures that this fit has: residuals need its rows, the way to the estimates its iterations."""
    found = []
    if has_rows(fit.model.design):
        found.append(_residuals(fit))
        if has_leave_one_out(fit):
            caption = (
                "Each row predicted from the others, against what was observed; bands are chance's."
            )
            found.append(
                Picture("Calibration", caption, lambda figure: calibration(fit, figure.subplots()))
            )
    caption = "Effects of the levels given the data, in order, with 95 % intervals."
    for block in fit.model.design.terms:
        for column in block.columns:
            of_what = f"{column} by {block.group}" if len(block.columns) > 1 else block.group
            draw = partial(draw_effects, fit, block.group, column)
            found.append(Picture(f"Effects: {of_what}", caption, draw))
    if fit.iterations:
        height = 1.9 * -(-min(len(fit.param_names), MOST_PANELS) // 3) + 0.3
        caption = "Each parameter over the iterations; the band is one standard error around its estimate."
        draw = partial(draw_convergence, fit)
        found.append(Picture("The way to the estimates", caption, draw, height))
    return found


def _residuals(fit: FittedModel) -> Picture:
    """Of normal rows their histogram; of others, which have no one normal curve, quantile residuals."""
    if fit.sigma is not None:
        caption = "What the model leaves unexplained, against a normal curve."
        return Picture("Residuals", caption, lambda figure: residuals(fit, figure.subplots()))
    caption = "Quantile residuals in order: on the line where the family is the right one."
    return Picture("Residuals", caption, lambda figure: qq(fit, ax=figure.subplots()))


def interval_table(parameters: pd.DataFrame) -> Table:
    """All parameters with their 95 % intervals.

    Args:
      parameters: from `tidy`.
    """
    texts = (Column(name, tuple(parameters[name]), "text") for name in ("effect", "group", "term"))
    headings = {"estimate": "estimate", "conf_low": "low", "conf_high": "high"}
    numbers = (
        Column(heading, tuple(None if np.isnan(v) else float(v) for v in parameters[name]))
        for name, heading in headings.items()
    )
    note = "Wald's intervals: those of standard deviations on the log scale, of correlations by Fisher's z."
    return Table("All parameters with 95 % intervals", (*texts, *numbers), (note,))


def effort_table(fit: FittedModel) -> Table:
    """How the estimates were found, and how long it took."""
    rows: list[tuple[str, str]] = [("outcome", fit.outcome.name.lower().replace("_", " "))]
    if fit.ascent is not None:
        rows.append(("likelihood evaluations", f"{fit.ascent.num_evaluations:,}"))
    if fit.sampling is not None:
        sampling = fit.sampling
        rows += [
            ("iterations", f"{len(fit.iterations):,}"),
            ("draws in the last", f"{sampling.num_chains} chains of {sampling.num_draws:,}"),
            ("acceptance", f"{sampling.acceptance:.2f}"),
            ("divergences", f"{sampling.divergences:,}"),
            ("split R-hat", f"{sampling.rhat:.3f}"),
        ]
    # The whole after its parts.
    seconds = fit.seconds._asdict()
    seconds["total"] = seconds.pop("total")
    rows += [(name.replace("_", " "), f"{s:.2f} s") for name, s in seconds.items() if s >= 0.005]
    columns = (Column("", cells, "text") for cells in zip(*rows, strict=True))
    return Table("How it was fitted", tuple(columns))


def _head(fit: FittedModel, facts: Summary) -> str:
    state = "fine" if fit.converged and not fit.singular else "doubt"
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"
        for label, text in facts.facts
        if label != "formula"
    )
    return (
        f"<h1>{html.escape(facts.title)}</h1>\n<pre>{html.escape(fit.formula.written)}</pre>\n"
        f"<p class='{state}'>{html.escape(facts.outcome)}</p>\n<table class='facts'>{rows}</table>"
    )


def _scrolling(table: str) -> str:
    return f"<div class='wide'>{table}</div>"


def _figure(picture: Picture) -> str:
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    light, dark = (_drawn(picture, colours) for colours in (LIGHT, DARK))
    return (
        f"<h2>{title}</h2>\n<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{title}: {caption}"></picture>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _drawn(picture: Picture, colours: Mapping[str, str]) -> str:
    """The picture as an address that holds it."""
    from matplotlib import rc_context

    ink, faint, paper = colours["ink"], colours["faint"], colours["paper"]
    settings: Any = {
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.edgecolor": faint,
        "axes.facecolor": paper,
        "figure.facecolor": paper,
        "savefig.facecolor": paper,
        "xtick.color": faint,
        "ytick.color": faint,
        "grid.color": colours["line"],
        "legend.labelcolor": ink,
    }
    with rc_context(settings):
        content = picture_bytes(picture.draw, size=(8.0, picture.height), dpi=DPI)
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _style() -> str:
    def colours(chosen: Mapping[str, str]) -> str:
        return "".join(f"--{name}:{value};" for name, value in chosen.items())

    return f"""
:root {{ color-scheme: light dark; {colours(LIGHT)} --fine:#1a7f37; --doubt:#9a6700; }}
@media (prefers-color-scheme: dark) {{ :root {{ {colours(DARK)} --fine:#4cc36b; --doubt:#d9a514; }} }}
body {{ margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }}
main {{ max-width: 52rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }}
section {{ margin: 0 0 2rem; }}
h1 {{ font-size: 1.5rem; margin: 0 0 .5rem; }}
h2, caption {{ font-size: 1.05rem; font-weight: 600; margin: 0 0 .5rem; text-align: left; }}
caption {{ padding: 0 0 .4rem; }}
pre {{ margin: 0 0 1rem; padding: .6rem .8rem; border: 1px solid var(--line); border-radius: 6px;
  overflow-x: auto; white-space: pre-wrap; }}
.fine, .doubt {{ border-left: 4px solid var(--fine); padding: .1rem 0 .1rem .8rem; }}
.doubt {{ border-color: var(--doubt); }}
.note, figcaption, tfoot {{ color: var(--faint); font-size: .9rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .2rem .9rem .2rem 0; vertical-align: top; }}
thead th {{ border-bottom: 1px solid var(--line); font-weight: 600; }}
tbody tr + tr td {{ border-top: 1px solid var(--line); }}
tfoot td {{ padding-top: .5rem; }}
.facts th {{ color: var(--faint); font-weight: 400; text-align: left; }}
figure {{ margin: 0; }}
img {{ width: 100%; height: auto; display: block; }}
@media print {{ section {{ break-inside: avoid; }} main {{ max-width: none; padding: 0; }} }}
"""
