"""The likelihood along a path, against quadrature; and what does not overlap is said to be unknown."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gammaln

from lmeformula.em import Options, path
from lmeformula.em.bridge import ENOUGH, bridged
from lmeformula.em.programs import engine_of
from tests.em.groups import groups, loglik, modes, problem


@pytest.mark.parametrize("sd", [0.5, 2.0])
def test_it_is_the_likelihood_within_its_error(sd):
    given = groups(1.0, is_poisson=True)
    psi = np.array([0.5, np.log(sd)])
    made = problem(given, tuple(psi))
    found = path.along_path(engine_of(made, Options(), "float64", 3), psi, made.geometry(psi))
    # The density lacks the determinant of its coordinates, and constants of the counts.
    _, curvature = modes(given, psi)
    value = found.value - 0.5 * np.log(curvature).sum() - gammaln(given.y + 1).sum()
    assert 0 < found.mc_error < 0.1
    assert abs(value - loglik(given, psi)) < 4.5 * found.mc_error


def test_pairs_that_do_not_overlap_leave_the_error_unknown():
    rng = np.random.default_rng(1)
    near = path.Stop(0.0, rng.normal(-0.1, 0.5, (200, 4)))
    far = path.Stop(1.0, rng.normal(900.0, 1.0, (200, 4)))
    found = path._total([near, far], [path._pair(near, far)])
    assert np.isfinite(found.value)
    assert np.isnan(found.mc_error)


@pytest.mark.parametrize(("sd", "reaches"), [(0.5, True), (2.0, True), (7.0, False)])
def test_overlap(sd, reaches):
    rng = np.random.default_rng(2)
    reference = rng.normal(-0.5 * sd**2, sd, (500, 2))
    target = rng.normal(0.5 * sd**2, sd, (500, 2))
    assert (bridged(reference, target).overlap >= ENOUGH) == reaches
