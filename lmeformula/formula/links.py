"""The labels of (e |ID| g) link terms that share one covariance matrix: their pass, and who is together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lmeformula.formula.groups import groups_of, is_reserved_call, names_of
from lmeformula.formula.ir import GroupingFactor, RandomTerm
from lmeformula.formula.mistakes import Report
from lmeformula.formula.written import Bar, Separated


def check_labels(model: Separated, report: Report) -> Separated:
    """Note labels that occur once, or with several grouping factors; the model stays as it is."""
    linked: dict[str, list[Bar]] = defaultdict(list)
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


def linked_terms(terms: Sequence[RandomTerm]) -> tuple[tuple[RandomTerm, ...], ...]:
    """Part random-effects terms into those that share one covariance matrix.

    Args:
      terms: in the formula's order.
    Returns:
      Tuples of terms with the same label, each where the first of them stands; a term without a label alone.
    Example:
      >>> from lmeformula.formula import parse
      >>> linked = linked_terms(parse("y ~ (1 | p | g) + (1 | h) + (0 + x | p | g)").random)
      >>> [len(terms) for terms in linked]
      [2, 1]
    """
    linked: dict[object, list[RandomTerm]] = {}
    for position, term in enumerate(terms):
        linked.setdefault(term.block or position, []).append(term)
    return tuple(map(tuple, linked.values()))


def factors_of(bar: Bar, report: Report) -> set[frozenset[str]]:
    """Return the sets of columns that a term's groups are made of."""
    if is_reserved_call(bar.group) or isinstance(bar.group, GroupingFactor):
        return set()
    # Mistakes of the group itself are noted when it is expanded.
    return set(map(names_of, groups_of(bar.group, Report(report.text))))
