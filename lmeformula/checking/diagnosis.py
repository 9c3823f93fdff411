"""What a fit says of itself, as a record and in words."""

from __future__ import annotations

import html
import math
import textwrap
from dataclasses import dataclass

from lmeformula.certificate import Certificate, Claim
from lmeformula.em.outcome import Outcome
from lmeformula.estimation.dispatch import DRAWING
from lmeformula.history import Ascent, Resumed, Sampling, Seconds
from lmeformula.text.render import facts_html, facts_lines

# Distances of Laplace below this many standard errors are not named one by one.
NAMED_DISTANCE = 0.1
NAMED = 2
# Control variates that do more than this leave rounding errors only.
NOTHING_LEFT = 1e6


@dataclass(frozen=True, slots=True)
class LaplaceDistance:
    """How far the Laplace approximation was from the estimate of one parameter.

    Attributes:
      name: of the parameter.
      laplace: its estimate by the Laplace approximation.
      estimate: by Monte Carlo EM.
      in_stderr: Laplace's less the estimate, in standard errors; nan where there is none.
      percent: the same in percent of the estimate.
    """

    name: str
    laplace: float
    estimate: float
    in_stderr: float
    percent: float


@dataclass(frozen=True, slots=True)
class NamedError:
    """A Monte Carlo error or a step in units of a standard error, and the parameter it is of."""

    name: str
    in_stderr: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Diagnostics:
    """What a fit says of itself; prints in words.

    Attributes:
      outcome: how the fit ended.
      ended: the same in words.
      method: "exact", "quadrature", "laplace", "mcem", "nuts" or "vi".
      num_iterations: of Monte Carlo EM; 0 otherwise.
      sampling: its last iteration, or None.
      ascent: how the deterministic maximisation ended, or None.
      distance: of its end from the maximum, in standard errors, by the gradient that was left; nan where the
        curvature does not tell.
      largest_error: the largest Monte Carlo error, or None for methods without.
      last_step: the largest step of the last iteration, or None.
      reduction: by parameter name, variance of the scores over that with control variates.
      laplace: by parameter, how far the Laplace approximation was; () where there was none.
      endless: names of the coefficients without a finite estimate, after a separation.
      at_limits: own parameters of the family that ended at their limits, each with what the family becomes.
      singular_terms: names of the terms whose covariance is singular.
      condition: condition number of the correlations between the estimates; nan where a standard error is.
      stderr_source: what the standard errors are from.
      stderr_error: their largest Monte Carlo error, relative, or None where they have none.
      seconds: where the time went.
      advice: sentences on what is out of the ordinary, with what to do.
      certificate: what was examined at the estimates, apart from the optimiser; None for fits saved without.
      origin: where the rows were read from; "" for a table in memory.
      resumed: from where the fit went on by its checkpoint; None where it ran in one go.
    """

    outcome: Outcome
    ended: str
    method: str
    num_iterations: int
    sampling: Sampling | None
    ascent: Ascent | None
    distance: float
    largest_error: NamedError | None
    last_step: NamedError | None
    reduction: dict[str, float]
    laplace: tuple[LaplaceDistance, ...]
    endless: tuple[str, ...]
    at_limits: tuple[str, ...]
    singular_terms: tuple[str, ...]
    condition: float
    stderr_source: str
    stderr_error: NamedError | None
    seconds: Seconds
    advice: tuple[str, ...]
    certificate: Certificate | None
    origin: str = ""
    resumed: Resumed | None = None

    def __repr__(self) -> str:
        return diagnostics_text(self)

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self.ended)}</p>\n{facts_html(_facts(self))}"


def diagnostics_text(found: Diagnostics, width: int = 80) -> str:
    """Say in fewer than fifteen lines how a fit was come by.

    Args:
      found: the diagnostics.
      width: columns of the terminal.
    Returns:
      text: no newline at the end.
    """
    lines = textwrap.wrap(found.ended, width)
    return "\n".join(lines + facts_lines(_facts(found), width))


def laplace_sentence(distances: tuple[LaplaceDistance, ...]) -> str:
    """Say what the Laplace approximation gets wrong, the worst first.

    Args:
      distances: of all parameters.
    Returns:
      A sentence, such as "understates sd(students) by 1.5 % (0.6 standard errors)"; "" for no distances.
    """
    known = [d for d in distances if math.isfinite(d.in_stderr)]
    if not known:
        return ""
    known.sort(key=lambda d: -abs(d.in_stderr))
    named = [d for d in known if abs(d.in_stderr) >= NAMED_DISTANCE][:NAMED]
    if not named:
        return f"within {_brief(abs(known[0].in_stderr))} standard errors of every estimate"
    parts = []
    for d in named:
        # A coefficient that is too near zero is understated, whatever its sign.
        over = abs(d.laplace) > abs(d.estimate)
        verb = "overstates" if over else "understates"
        percent = _brief(abs(d.percent))
        parts.append(f"{verb} {d.name} by {percent} % ({abs(d.in_stderr):.1f} standard errors)")
    rest = len(known) - len(named)
    next_one = known[len(named)] if rest else None
    ending = "" if next_one is None else f"; others within {abs(next_one.in_stderr):.2f}"
    return ", ".join(parts) + ending


def _facts(found: Diagnostics) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if found.certificate is not None:
        facts += _certificate(found.certificate)
    if found.endless:
        facts.append(("separation", f"without a finite estimate: {', '.join(found.endless)}"))
    if found.at_limits:
        facts.append(("boundary", f"at its limit: {', '.join(found.at_limits)}"))
    sampling = found.sampling
    if sampling is not None:
        iterations = (
            "1 iteration" if found.num_iterations == 1 else f"{found.num_iterations} iterations"
        )
        chains = "1 chain" if sampling.num_chains == 1 else f"{sampling.num_chains} chains"
        facts.append(
            (
                "sampling",
                f"{iterations}, in the last {chains} of {sampling.num_draws:,} draws: acceptance "
                f"{sampling.acceptance:.2f}, split R-hat {sampling.rhat:.3f}, smallest ESS "
                f"{sampling.effective:,.0f}, divergences {sampling.divergences:,}",
            )
        )
    elif found.ascent is not None:
        facts.append(("maximum", _ascent(found)))
    if found.largest_error is not None:
        error = found.largest_error
        text = f"largest Monte Carlo error {_percent(error.in_stderr)} of a standard error ({error.name})"
        if found.last_step is not None:
            step = found.last_step
            text += f", last step {_percent(step.in_stderr)} ({step.name})"
        facts.append(("error", text))
    if found.reduction:
        least, most = (_factor(f(found.reduction.values())) for f in (min, max))
        facts.append(
            (
                "variates",
                f"control variates divide the variance of the scores by {least} to {most}",
            )
        )
    sentence = laplace_sentence(found.laplace)
    if sentence:
        facts.append(("Laplace", sentence))
    source = f"from {found.stderr_source}"
    if found.stderr_error is not None:
        error = found.stderr_error
        source += f", to {_percent(error.in_stderr)} ({error.name})"
    facts.append(("std errors", source + _condition(found.condition)))
    if found.origin:
        facts.append(("rows", found.origin))
    facts.append(("seconds", _seconds(found.seconds, found.sampling is not None, found.method)))
    if found.resumed is not None:
        facts.append(("resumed", _resumed(found.resumed)))
    facts += [("note", sentence) for sentence in found.advice]
    return facts


def _certificate(found: Certificate) -> list[tuple[str, str]]:
    """What fails by itself; what holds, and what could not be examined, in a line each."""
    facts = [("certificate", f"{claim.name} fails: {claim.words}") for claim in found.failing]
    left_open = [claim for claim in found.claims if claim.holds is None]
    known = [claim for claim in left_open if not math.isnan(claim.figure)]
    facts += [("certificate", f"{claim.name} is open: {claim.words}") for claim in known]
    left_open = [claim for claim in left_open if claim not in known]
    holding = [claim for claim in found.claims if claim.holds]
    for some, words in ((holding, "holds"), (left_open, "not examined")):
        claims = [_figure(claim) for claim in some]
        if claims:
            facts.append(("certificate", f"{words}: {', '.join(claims)}"))
    return facts


def _figure(claim: Claim) -> str:
    has_figure = math.isfinite(claim.figure) and claim.figure != 0.0
    return f"{claim.name} ({claim.figure:.1e})" if has_figure else claim.name


def _ascent(found: Diagnostics) -> str:
    assert found.ascent is not None
    if not math.isfinite(found.distance):
        return f"sought in {found.ascent.num_evaluations:,} evaluations; how far away it is, is not known"
    return (
        f"after {found.ascent.num_evaluations:,} evaluations, {_brief(found.distance)} standard errors away by "
        "the gradient that was left"
    )


def _resumed(found: Resumed) -> str:
    places = [f"{found.num_evaluations:,} evaluations"] if found.num_evaluations else []
    places += [f"iteration {found.num_iterations:,}"] if found.num_iterations else []
    before = f"which had taken {_brief(found.seconds)} seconds before"
    return f"from a checkpoint, after {' and '.join(places) or 'its start'}, {before}"


def _percent(fraction: float) -> str:
    return f"{_brief(100.0 * fraction)} %"


def _factor(value: float) -> str:
    return _brief(value) if value < NOTHING_LEFT else "over a million"


def _brief(value: float) -> str:
    """Two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def _condition(condition: float) -> str:
    if math.isnan(condition):
        return ""
    return f"; condition of the estimates' correlations {_brief(condition)}"


def _seconds(seconds: Seconds, is_drawn: bool, method: str) -> str:
    parts = {
        "design": seconds.design,
        "compile": seconds.compile,
        "Laplace" if is_drawn else "fit": seconds.start,
        "whitening": seconds.whitening,
        "draws" if method in DRAWING else "E- and M-steps": seconds.iterations,
        "log-likelihood": seconds.bridge,
    }
    # Importing TensorFlow, standard errors, posterior means.
    rest = seconds.total - sum(parts.values())
    if rest > 0.05 * seconds.total:
        parts["the rest"] = rest
    named = ", ".join(f"{name} {_brief(s)}" for name, s in parts.items() if s > 0)
    return f"{_brief(seconds.total)}: {named}" if named else _brief(seconds.total)
