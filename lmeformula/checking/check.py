"""What seems wrong with a fitted model, and what to try."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace

from lmeformula.arguments import kinds
from lmeformula.checking.check_groups import effects_apart, levels_apart, row_scores
from lmeformula.checking.check_rows import (
    narrow,
    row_facts,
    spread,
    steps,
    tails,
    unequal,
    zeros,
)
from lmeformula.checking.check_scores import score_tests
from lmeformula.checking.diagnostics import singular_terms
from lmeformula.checking.ending import endless
from lmeformula.checking.finding import Finding
from lmeformula.design.absent import has_rows
from lmeformula.fit import FittedModel, not_of_draws, of_observations

ROW_TESTS = (tails, unequal, steps, spread, narrow, zeros)
# Means of few bounded numbers are not normal, whatever the effects are.
BOUNDED = (
    "Ratings do this by themselves, where effects are normal and levels near an end of the scale: fit the "
    "categories first, and look again."
)
NEED_ROWS = "residuals and groups: the fit was loaded without the rows of its data"

# Smaller chances are not told apart.
SMALLEST = 1e-4


@dataclass(frozen=True, slots=True, repr=False)
class Check:
    """What a check of a fit found; prints in words.

    Attributes:
      findings: what seems wrong; () if nothing does.
      looked_at: names of the things looked at.
      level: the chance that any of the tests finds something wrong with a model that is right.
      skipped: what could not be looked at, and why.
    """

    findings: tuple[Finding, ...]
    looked_at: tuple[str, ...]
    level: float
    skipped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything seems wrong."""
        return bool(self.findings)

    def __repr__(self) -> str:
        return check_text(self)

    def _repr_html_(self) -> str:
        return check_html(self)


@kinds.takes(level=kinds.significance, seed=kinds.seed)
@of_observations
@not_of_draws(
    "checks by tests",
    "fit.plot.ppc() draws responses from the posterior; fit.residuals('quantile') are of the draws.",
)
def check(fit: FittedModel, *, level: float = 0.01, seed: int = 0) -> Check:
    """Look for what often goes wrong with models of grouped data.

    Tails of residuals heavier than normal, residuals that scatter with the fit or with a column, and ratings or
    counts taken for measurements (Gaussian models); counts or successes that vary more than their family, or
    less, and more zeros than it has; a curve along a column of numbers that the fixed part lacks, and in one of
    several linear predictors a column that another has; rows that are like the ones before them, in the order
    of the data or of a group; random effects far from normal; levels that contradict the others; singular
    covariances; and, where the fit ended so, coefficients without a finite estimate. But for the last two each
    is a test, and a finding is one whose chance under a model that is right is below `level` over their number
    (Bonferroni).
    With many rows small departures are found, too: look at the figure before the model is changed.

    Args:
      fit: a fitted model.
      level: the chance of any false finding.
      seed: of random numbers, which some tests of responses that are not Gaussian take.
    Returns:
      The record of what was found.
    Raises:
      ModelError: if the level is not between 0 and 1.
    References:
      Anscombe, Glynn (1983), Biometrika 70, 227-234, for tails; McCullagh, Nelder (1989), section 4.5, for
      overdispersion; Shapiro, Wilk (1965), Biometrika 52, 591-611, for effects; Cook (1977), Technometrics 19,
      15-18, for what one part of the data does to the estimates.
    Example:
      >>> import lmeformula as lf
      >>> ratings = lf.datasets.load("insteval").head(2000)
      >>> found = lf.fit("ratings ~ service + (1 | students)", ratings).check()
      >>> [finding.name for finding in found.findings]
      ['ratings']
    """
    tests = list(_tests(fit, seed))
    found = [one for one in tests if one.p_value < level / max(len(tests), 1)]
    is_bounded = any(one.name == "ratings" for one in found)
    findings = [
        replace(one, advice=BOUNDED) if is_bounded and one.name.startswith("effects of ") else one
        for one in found
    ]
    findings += [
        Finding(
            "singular",
            math.nan,
            0.0,
            f"the covariance of the effects of {term} is singular: a standard deviation is zero, or effects "
            "are combinations of others",
            "Leave out what the data do not support: correlations first, by (x || g), then slopes; or "
            "compare by fit.anova.",
        )
        for term in singular_terms(fit)
    ]
    if names := endless(fit):
        findings.append(
            Finding(
                "separation",
                math.nan,
                math.inf,
                f"some responses are predicted perfectly, by {', '.join(names)}",
                "Leave that column out, or join its category with another.",
            )
        )
    return Check(
        findings=tuple(findings),
        looked_at=(
            *(one.name for one in tests),
            "singular",
            *(["separation"] if names else []),
        ),
        level=level,
        skipped=() if has_rows(fit.model.design) else (NEED_ROWS,),
    )


def _tests(fit: FittedModel, seed: int) -> Iterator[Finding]:
    if has_rows(fit.model.design):
        facts = row_facts(fit, seed)
        yield from filter(None, (test(facts) for test in ROW_TESTS))
    yield from effects_apart(fit, seed)
    # What a level or a column does to the estimates is judged by their covariance.
    if has_rows(fit.model.design) and not endless(fit):
        scores = row_scores(fit, seed)
        yield from score_tests(fit, scores, seed)
        yield from levels_apart(fit, scores, seed)


def check_text(found: Check, width: int = 80) -> str:
    """Say what seems wrong and what to try.

    Args:
      found: the record.
      width: columns of the terminal.
    Returns:
      text: no newline at the end.
    """
    lines = textwrap.wrap(_head(found), width)
    for finding in found.findings:
        lines += textwrap.wrap(f"- {_what(finding)}", width, subsequent_indent="  ")
        lines += textwrap.wrap(finding.advice, width, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


def check_html(found: Check) -> str:
    """The same as HTML."""
    items = "".join(
        f"<li>{html.escape(_what(finding))}<br>{html.escape(finding.advice)}</li>"
        for finding in found.findings
    )
    return f"<p>{html.escape(_head(found))}</p>" + (f"\n<ul>{items}</ul>" if items else "")


def _head(found: Check) -> str:
    looked = f"Looked at: {', '.join(found.looked_at)}."
    skipped = "".join(f" Not at {reason}." for reason in found.skipped)
    if not found.findings:
        return f"Nothing seems wrong. {looked}{skipped}"
    count = len(found.findings)
    return f"{count} {'thing seems' if count == 1 else 'things seem'} wrong. {looked}{skipped}"


def _what(finding: Finding) -> str:
    if math.isnan(finding.p_value):
        return f"{finding.name}: {finding.what}."
    chance = "< 0.0001" if finding.p_value < SMALLEST else f"= {finding.p_value:.2g}"
    return f"{finding.name}: {finding.what} (p {chance})."
