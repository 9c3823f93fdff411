"""Profile intervals of variances near zero and of correlations near one: against lme4, and dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

import lmeformula as lf
from tests.prediction.random_designs import frame

# lme4 1.1-31: confint(lmer(formula, frame, REML = FALSE), method = "profile") on frame("slopes", seed) of
# tests/prediction/random_designs.py; rows in the order of ours. Its curves are splines, good to some 1e-3.
CROSSED, SLOPES = "y ~ x + (1 | g) + (1 | h)", "y ~ x + (x | g)"
LME4 = {
    (1, CROSSED): [
        (-0.2741, 2.0049),
        (0.1206, 0.7066),
        (0.5381, 1.7457),
        (0.5368, 2.0589),
        (1.1284, 1.5523),
    ],
    (2, CROSSED): [(0.837, 1.5774), (0.1139, 0.6518), (0, 0.8019), (0, 0.4381), (0.9311, 1.2699)],
    (4, CROSSED): [(0.9649, 1.4969), (0.1761, 0.6472), (0, 0.3708), (0, 0.4816), (0.9129, 1.231)],
    (2, SLOPES): [
        (0.8041, 1.5782),
        (0.0921, 0.7035),
        (0, 0.8455),
        (0, 0.5518),
        (-1, 1),
        (0.9172, 1.2501),
    ],
    (4, SLOPES): [
        (0.9916, 1.4517),
        (0.1477, 0.7863),
        (0, 0.3948),
        (0, 0.7119),
        (-1, 1),
        (0.8987, 1.2313),
    ],
}
# In the last one lme4's upper end for the sd of x is 0.6964. With that sd held, dense algebra (Nelder-Mead from
# 12 starts over the rest) finds the deviance 3.6675 above the least at 0.6964 and 3.8417 at 0.7119, and the
# chi-square's 95 % are 3.8415.
FAST = [(2, CROSSED)]


@pytest.mark.parametrize(
    "case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in LME4]
)
def test_ends_near_bounds(case):
    seed, formula = case
    found = lf.fit(formula, frame("slopes", seed)).confint("profile")
    np.testing.assert_allclose(found[["lower", "upper"]], LME4[case], atol=4e-3)
