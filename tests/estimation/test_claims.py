"""Claims made of evidence: which hold, which fail, and whom they name."""

from __future__ import annotations

import numpy as np
import pytest

from lmeformula.em.outcome import Outcome
from lmeformula.estimation.claims import Bound, Evidence, claimed, ending
from lmeformula.estimation.coordinates import LEAST_KNOWN

NAMES = ("Intercept", "x", "sd(g)", "sigma")
INFORMATION = np.diag([40.0, 1e6, 6.0, 90.0])
RIDGE = np.array([0.0, 0.0, 1.0, -1.0])


def evidence(**changes) -> Evidence:
    fields = {
        "names": NAMES,
        "inside": np.ones(4, bool),
        "gradient": np.zeros(4),
        "information": INFORMATION,
        "back": np.eye(4),
        "least": np.where(np.arange(4) < changes.get("num_fixed", 0), 0.0, LEAST_KNOWN),
        "noise": 0.0,
        "scatter": None,
        "expected": np.full(4, np.nan),
        "stderr": np.ones(4),
        "bounds": (),
        "value": -100.0,
        "second": -100.0 + 1e-9,
        "allowed": 1e-6,
        "way": "another way",
    }
    return Evidence(**(fields | changes))


def flat_along(direction: np.ndarray) -> np.ndarray:
    """An information that knows nothing of one direction."""
    scale = np.sqrt(np.diag(INFORMATION))
    unit = direction / np.linalg.norm(direction)
    return (np.eye(4) - np.outer(unit, unit)) * np.outer(scale, scale)


def test_all_hold_at_a_maximum():
    found = claimed(evidence())
    assert found.holds
    assert [claim.holds for claim in found.claims] == [True] * 5


# what is wrong: (changes, the claim that fails, whom it names, how a fit ends that the optimiser was sure of)
WRONG = {
    "a gradient is left": (
        {"gradient": np.array([0.0, 0.0, 0.1, 0.0])},
        "stationarity",
        {"sd(g)"},
        Outcome.OPTIMIZER_STALLED,
    ),
    "a small gradient, seen in the units of its parameter": (
        {"gradient": np.array([0.0, 30.0, 0.0, 0.0])},
        "stationarity",
        {"x"},
        Outcome.OPTIMIZER_STALLED,
    ),
    "two parameters cannot be told apart": (
        {"information": flat_along(RIDGE)},
        "curvature",
        {"sd(g)", "sigma"},
        Outcome.UNIDENTIFIED,
    ),
    "one parameter makes no difference": (
        {
            "information": np.diag([40.0, 1e6, 1e-12, 90.0]),
            "expected": np.array([np.nan, np.nan, 9.0, 90.0]),
        },
        "curvature",
        {"sd(g)"},
        Outcome.UNIDENTIFIED,
    ),
    "a saddle": (
        {"information": np.diag([40.0, 1e6, -6.0, 90.0])},
        "curvature",
        {"sd(g)"},
        Outcome.OPTIMIZER_STALLED,
    ),
    "the likelihood rises away from a bound": (
        {"bounds": (Bound(("sd(g)",), 1e-2, 1e-6), Bound(("sd(h)",), -1.0, 1e-6))},
        "boundaries",
        {"sd(g)"},
        Outcome.OPTIMIZER_STALLED,
    ),
    "no error of a parameter inside its bounds": (
        {"stderr": np.array([1.0, 0.0, 1.0, np.nan])},
        "covariance",
        {"x", "sigma"},
        Outcome.OPTIMIZER_STALLED,
    ),
    "another log-likelihood by another way": (
        {"second": -99.9},
        "second opinion",
        set(),
        Outcome.OPTIMIZER_STALLED,
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_fails_is_named(case):
    changes, name, names, outcome = WRONG[case]
    found = claimed(evidence(**changes))
    assert [claim.name for claim in found.failing] == [name]
    assert set(found[name].names) == names
    assert ending(Outcome.CONVERGED, found) is outcome
    # What is known otherwise stays known.
    assert ending(Outcome.SEPARATION, found) is Outcome.SEPARATION


def test_a_bound_about_which_nothing_is_known_is_not_said_to_be_fallen_from():
    far, level = Bound(("sd(h)",), -1.0, 1e-6), Bound(("sd(g)",), 0.2, 0.4)
    assert (
        "from where the log-likelihood falls: sd(h)"
        in claimed(evidence(bounds=(far,)))["boundaries"].words
    )
    said = claimed(evidence(bounds=(far, level)))["boundaries"]
    assert said.holds
    assert said.words.endswith("level within 4.0e-01, as well as it is known: sd(g)")


def test_a_direction_without_information_is_not_in_the_way_of_the_others():
    gradient = 1e-3 * RIDGE * np.sqrt(np.diag(INFORMATION))
    found = claimed(evidence(information=flat_along(RIDGE), gradient=gradient))
    assert found["stationarity"].holds
    assert not found["curvature"].holds


def test_a_long_step_in_one_direction_does_not_hide_what_is_left_in_another():
    information = np.diag([40.0, 1e6, 6e-7, 90.0])
    found = claimed(evidence(information=information, gradient=np.array([0.5, 0.0, 0.0, 0.0])))
    assert not found["stationarity"].holds
    assert found["stationarity"].figure == pytest.approx(0.5 * 0.25 / 40.0, rel=0.1)


def test_the_origin_and_the_unit_of_a_column_are_no_lack_of_information():
    R = np.array([[10.0, 1e8], [0.0, 30.0]])
    information, back = INFORMATION.copy(), np.eye(4)
    information[:2, :2], back[:2, :2] = R.T @ R, np.linalg.inv(R)
    found = claimed(evidence(information=information, back=back))
    assert found["curvature"].figure == pytest.approx(1.0)


def test_what_the_optimiser_doubts_and_the_evidence_shows_has_converged():
    assert ending(Outcome.OPTIMIZER_STALLED, claimed(evidence())) is Outcome.CONVERGED
    assert ending(Outcome.BOUNDARY, claimed(evidence())) is Outcome.BOUNDARY
    assert ending(Outcome.INTERRUPTED, claimed(evidence())) is Outcome.INTERRUPTED


def test_draws_that_ran_out_where_nothing_is_told_are_not_wanted():
    level = claimed(evidence(information=flat_along(RIDGE)))
    assert ending(Outcome.DRAWS_EXHAUSTED, level) is Outcome.UNIDENTIFIED
    assert ending(Outcome.DRAWS_EXHAUSTED, claimed(evidence())) is Outcome.DRAWS_EXHAUSTED


def test_what_was_not_examined_is_neither_held_nor_failed():
    found = claimed(evidence(second=np.nan))
    assert found["second opinion"].holds is None
    assert found.holds


def test_a_gradient_is_held_to_its_monte_carlo_error():
    r = np.random.default_rng(0)
    scatter = 1e-4 * INFORMATION
    scatter[2, 3] = scatter[3, 2] = 5e-5 * np.sqrt(6.0 * 90.0)
    draws = r.multivariate_normal(np.zeros(4), scatter, 400)
    found = [claimed(evidence(gradient=g, scatter=scatter))["stationarity"] for g in draws]
    assert all(claim.holds for claim in found)
    assert not claimed(evidence(gradient=10 * np.sqrt(np.diag(scatter)), scatter=scatter)).holds
    assert not claimed(evidence(gradient=draws[0])).holds


@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_the_unit_of_a_fixed_effect_moves_no_floor(unit):
    """A weak direction of two logarithms, beside a tiny Newton step of a coefficient."""
    scale = np.diag([1.0, 1.0 / unit, 1.0, 1.0])
    weak = INFORMATION.copy()
    weak[2, 3] = weak[3, 2] = (1.0 - 1e-4) * np.sqrt(6.0 * 90.0)
    gradient = np.array([0.0, 1e-3, 0.0, 0.0])
    found = claimed(
        evidence(information=scale @ weak @ scale, gradient=scale @ gradient, num_fixed=2)
    )
    assert found["curvature"].holds
    assert found["curvature"].figure == pytest.approx(1e-4, rel=1e-3)
