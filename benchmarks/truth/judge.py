"""One case: fitted, and held to the properties of its method."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

import lmeformula as lf
from truth.held import Finding, Held, fitted
from truth.properties import afterwards, approximated, estimates, following, recodings, sampled
from truth.spec import Case

Property = Callable[[Held], Iterator[Finding]]

# The share of cases that each is tried on: some take as long as ten fits.
HELD: dict[str, tuple[tuple[Property, float], ...]] = {
    "gaussian": (
        (afterwards.said, 0.1),
        (estimates.named_columns, 0.4),
        (estimates.likelihood, 1.0),
        (estimates.errors, 0.7),
        (lambda held: estimates.other_starts(held, 1), 0.5),
        (recodings.recodings, 0.8),
        (afterwards.afterwards, 0.5),
        (estimates.by_blocks, 0.15),
        (estimates.by_conjugate_gradients, 0.005),
    ),
    "laplace": (
        (afterwards.said, 0.1),
        (estimates.named_columns, 0.3),
        (approximated.likelihood, 1.0),
        (approximated.errors, 0.35),
        (approximated.other_starts, 0.12),
        (approximated.as_logarithms, 1.0),
        (lambda held: recodings.recodings(held, 1), 0.6),
        (lambda held: afterwards.afterwards(held, 1), 0.5),
    ),
    "quadrature": (
        (afterwards.said, 0.3),
        (estimates.named_columns, 0.2),
        (approximated.likelihood, 1.0),
        (approximated.errors, 0.15),
        (approximated.effects, 0.5),
        (approximated.other_starts, 0.04),
        (approximated.as_logarithms, 1.0),
        (lambda held: recodings.recodings(held, 1), 0.4),
        (lambda held: afterwards.afterwards(held, 1), 0.3),
        (following.following, 0.15),
    ),
    "mcem": (
        (afterwards.said, 1.0),
        (sampled.against_truth, 1.0),
        (sampled.same_bits, 0.1),
        (afterwards.predictions, 0.3),
        (afterwards.saved, 0.2),
    ),
}


class Verdict(NamedTuple):
    """What came of a case.

    Attributes:
      name: of the case.
      outcome: of the fit, or "refused", or "foreign".
      words: of the refusal.
      seconds: all in all.
      findings: of all properties.
    """

    name: str
    outcome: str
    words: str
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def failures(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.fails)


def judge(case: Case, only: str | None = None) -> Verdict:
    """Fit a case and hold it to its properties.

    Args:
      case: data and model.
      only: hold it to all properties, whatever their share, and keep the findings of this name.
    """
    began = time.perf_counter()
    try:
        fit = fitted(case.data, case.spec)
    except lf.LmeFormulaError as error:
        return Verdict(case.name, "refused", str(error).splitlines()[0], _since(began), ())
    except Exception as error:
        foreign = Finding(
            "nothing foreign escapes", np.inf, f"{type(error).__name__}: {error}"[:200]
        )
        return Verdict(case.name, "foreign", "", _since(began), (foreign,))
    method, seed, index = case.name.split(":")
    findings: list[Finding] = [Finding("nothing foreign escapes", 0.0)]
    for number, (hold, share) in enumerate(HELD[method]):
        # Each property has random numbers of its own, so that one can be tried without the others.
        rng = np.random.default_rng([int(seed), int(index), number])
        if rng.uniform() < share:
            findings += _found(hold, Held(case, fit, rng))
    if only is not None:
        findings = [finding for finding in findings if finding.name == only]
    return Verdict(case.name, fit.outcome.name, "", _since(began), tuple(findings))


def _found(hold: Property, held: Held) -> list[Finding]:
    found: list[Finding] = []
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            found.extend(hold(held))
    except approximated.NotKnown:
        found.append(Finding("the judge knows", 0.0))
    except Exception as error:
        # Of ours it is a refusal after the fit, of others' it has escaped: neither is an answer.
        name = getattr(hold, "__name__", "property")
        found.append(
            Finding(f"{name} gives an answer", np.inf, f"{type(error).__name__}: {error}"[:200])
        )
    return found


def _since(began: float) -> float:
    return time.perf_counter() - began
