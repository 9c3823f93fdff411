"""Pass: the labels of (e |ID| g) link terms that share one covariance matrix."""

from __future__ import annotations

from collections import defaultdict

from lmeformula.formula import ast
from lmeformula.formula.groups import groups_of, is_reserved_call
from lmeformula.formula.mistakes import Report


def check_labels(model: ast.Model, report: Report) -> ast.Model:
    """Note labels that occur once, or with several grouping factors; the model stays as it is."""
    linked: dict[str, list[ast.Bar]] = defaultdict(list)
    for bar in model.random:
        if bar.label:
            linked[bar.label].append(bar)
    for label, bars in linked.items():
        if len(bars) == 1:
            report.error("label_unused", bars[0].span, label=label)
            continue
        factors = [factors_of(bar, report) for bar in bars]
        for bar, found in zip(bars, factors, strict=True):
            if len(found) != 1 or found != factors[0]:
                report.error("label_groups", bar.span, label=label)
    return model


def factors_of(bar: ast.Bar, report: Report) -> set[frozenset[str]]:
    """Return the sets of columns that a term's groups are made of."""
    if is_reserved_call(bar.group):
        return set()
    # Mistakes of the group itself are noted when it is expanded.
    return set(groups_of(bar.group, Report(report.text)))
