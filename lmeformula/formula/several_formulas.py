"""Several formulas of one model: one with the response for its mean, one for each further predictor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmeformula.errors import FormulaErrors, FormulaSyntaxError
from lmeformula.formula import ir
from lmeformula.formula.formula import Formula
from lmeformula.formula.ir import FIRST
from lmeformula.formula.mistakes import Report
from lmeformula.formula.show import PLAIN_NAME


def formulas_of(formula: Formula) -> tuple[tuple[str, Formula], ...]:
    """Take a formula apart into those of its predictors, by name, that of the response first.

    Example:
      >>> from lmeformula.formula import parse
      >>> found = formulas_of(parse({"mu": "y ~ x + (1 | g)", "sigma": "~ x"}))
      >>> [(name, str(part)) for name, part in found]
      [('mu', 'y ~ 1 + x + (1 | g)'), ('sigma', '~ 1 + x')]
    """
    return ((FIRST, replace(formula, further=())), *formula.further)


def named_formulas(
    given: Mapping[str, object] | Sequence[object],
) -> tuple[tuple[str, object], ...]:
    """Name the formulas of a mapping, or of a tuple or list of texts such as ("y ~ x", "sigma ~ x").

    Raises:
      FormulaSyntaxError: where a text of these does not begin with the name of its predictor.
    """
    if isinstance(given, Mapping):
        return tuple((str(name), value) for name, value in given.items())
    found: list[tuple[str, object]] = []
    for number, value in enumerate(given):
        if number == 0:
            found.append((FIRST, value))
            continue
        name, tilde, rest = str(value).partition("~")
        if not tilde or not PLAIN_NAME.fullmatch(name.strip()):
            raise FormulaSyntaxError(
                f"the formula {str(value)!r} does not begin with the name of a predictor",
                "E_PREDICTORS",
                hint='Write the name before the tilde, "sigma ~ x", or give a mapping, {"sigma": "~ x"}.',
            )
        found.append((name.strip(), "~" + rest))
    return tuple(found)


def join_formulas(named: Sequence[tuple[str, Formula]], *, closed: bool = False) -> Formula:
    """Make one formula of those of several predictors.

    Args:
      named: name and formula of each predictor. One of them has the response; it is called "mu".
      closed: whether labels link terms of these formulas alone, where there is one.
    Returns:
      formula: the one with the response, and the others as its `further` ones.
    Raises:
      FormulaSyntaxError: where none or several have a response, names repeat, or a label links nothing.
    """
    names = [name for name, _ in named]
    two_sided = [name for name, part in named if part.response is not None]
    if not named or len(two_sided) > 1 or (names != [FIRST] and two_sided != [FIRST]):
        wrong = "none" if not two_sided else ", ".join(map(repr, two_sided))
        raise FormulaSyntaxError(
            f"the formula of {FIRST!r} has the response, and it alone; here {wrong} has one",
            "E_PREDICTORS",
            hint=f'Write {{"{FIRST}": "y ~ x + (1 | g)", "sigma": "~ x"}}.',
        )
    if len(set(names)) < len(names):
        raise FormulaSyntaxError(
            f"a predictor has several formulas: {', '.join(names)}",
            "E_PREDICTORS",
            hint="Write all its terms in one.",
        )
    for name, part in named:
        if part.further or (part.fixed.template and len(named) > 1):
            raise FormulaSyntaxError(
                f"the formula of {name!r} has {'several predictors' if part.further else 'a dot'}, which "
                "stands in a formula by itself",
                "E_PREDICTORS",
                hint="Write the terms out.",
            )
    check_links(named, closed=closed)
    ordered = sorted(named, key=lambda pair: pair[0] != FIRST) if two_sided else list(named)
    diagnostics = tuple(d for _, part in ordered for d in part.diagnostics)
    return replace(ordered[0][1], further=tuple(ordered[1:]), diagnostics=diagnostics)


def check_links(named: Sequence[tuple[str, Formula]], *, closed: bool = False) -> None:
    """Refuse labels (x |ID| g) that occur once, or with several grouping factors.

    In a formula that is alone here a single label may yet link the categories of its response, if not closed.
    """
    owners: dict[str, list[tuple[Formula, ir.RandomTerm]]] = defaultdict(list)
    for _, part in named:
        for term in part.random:
            if term.block:
                owners[term.block].append((part, term))
    errors: list[FormulaSyntaxError] = []
    for label, terms in owners.items():
        same = all(term.group.key == terms[0][1].group.key for _, term in terms)
        if same and (len(terms) > 1 or (len(named) == 1 and not closed)):
            continue
        part, term = terms[-1]
        report = Report(part.text)
        if same:
            report.error("label_unused", term.span or (0, 0), label=label)
        else:
            report.error("label_groups", term.span or (0, 0), label=label)
        errors += report.errors
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise FormulaErrors(errors)
