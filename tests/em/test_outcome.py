"""Outcomes: which to trust, and that each tells what to do."""

from __future__ import annotations

import pytest

from lmeformula.em.outcome import Outcome


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_only_what_is_called_converged_is(outcome):
    assert outcome.converged is outcome.value.startswith("Converged")
    assert outcome.converged is (
        outcome.name in ("CONVERGED", "BOUNDARY", "SAMPLED", "APPROXIMATED")
    )


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_each_is_a_sentence(outcome):
    assert outcome.value[0].isupper()
    assert outcome.value.endswith(".")


@pytest.mark.parametrize(
    ("outcome", "advice"),
    [
        (Outcome.ITERATIONS_EXHAUSTED, "Raise max_iterations"),
        (Outcome.DRAWS_EXHAUSTED, "Raise max_draws"),
        (Outcome.NONFINITE, "Check the scale"),
        (Outcome.OPTIMIZER_STALLED, "Rescale the columns"),
        (Outcome.SEPARATION, "Leave that column out"),
        (Outcome.BOUNDARY, "simpler model"),
        (Outcome.UNIDENTIFIED, "Leave out"),
        (Outcome.PERFECT_FIT, "Leave terms out"),
        (Outcome.DIVERGED, "Simplify the random-effects terms"),
        (Outcome.INTERRUPTED, "last whole iteration"),
    ],
)
def test_advice(outcome, advice):
    assert advice in outcome.value
