"""Cases in which the campaign once found something, by what it was: they stay found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from truth.generate import case
from truth.judge import judge

FOUND = {
    "another start found more": ("2:1032",),
    "the ending went with a unit or a coding": ("2:0", "1:300"),
    "a flat direction was called converged": ("2:397", "1:172"),
    "steps along a ridge grew shorter and shorter": ("1:425",),
    "blocks ended otherwise than dense products": ("1:650",),
    "sigma ran to zero, and stopped where the coding said": ("101:4081", "101:3264"),
    "a correlation that nothing tells took errors along": ("101:3203",),
    "a slope far from its origin": ("101:1567", "101:3002"),
    "a zero had no unit": ("101:3413",),
    "a leftover score was taken for a fall off a bound": ("101:2781", "101:4761"),
    "the restricted likelihood had no digits": ("101:473", "101:2514"),
    "the likelihood without limit was left on the way": ("101:1851", "2:973"),
    "what a singular covariance has was taken for a level way off it": ("7003:224",),
    "the second opinion had fewer digits than the first": ("601:969",),
    "rounding of a singular covariance was a negative variance": ("601:2866",),
    "a correlation that others determine had a standard error": ("601:6151", "601:9914"),
    "a singular maximum was looked for in columns as they were written": ("601:6402",),
    "each of two deviations alone was a maximum": ("801:71",),
    "an angle between two axes was not looked at; slopes were counted without their signs": (
        "811:832",
    ),
    "each set of single deviations may be a maximum": ("811:2118",),
    "of many effects in few rows another maximum was not looked for": ("901:764",),
    "a maximum a hundred sigmas out was not looked for": ("902:392",),
    "a narrow maximum of rank one": ("811:2375",),
    "the iterative solver stayed at a lower maximum": ("811:509",),
}
BY_LAPLACE = {
    "of more rows, too, a singular covariance has several maxima": "811:17",
    "another start found more": "101:228",
    "the likelihood was that of next to a bound": "101:24",
    "rows without information cost all coefficients their errors": "101:224",
    "a further fit started at a limit": "601:95",
    "an own parameter ran on beyond its limit, to where densities have no digits": "601:276",
    "an approximation without curvature was climbed": "601:228",
    "a maximum far out was not looked for": "601:879",
    "a singular maximum was looked for in columns as they were written": "301:431",
}
MORE = (
    "2:1127", "2:774", "2:702", "2:487", "2:806", "2:466", "2:916", "2:810", "1:582", "1:191", "1:505",
    "101:1", "101:1704", "101:2766", "101:4628", "101:367", "101:1781", "101:1808", "101:1871", "101:2235",
    "101:2378", "101:2862", "101:3653", "101:4279", "101:5222", "1:522", "21:186", "7:106", "101:473", "778:44",
)  # fmt: skip


def hold(name: str, method: str = "gaussian") -> None:
    seed, index = name.split(":")
    verdict = judge(case(method, int(seed), int(index)))
    assert not verdict.failures, (name, verdict.failures)
    assert verdict.outcome != "OPTIMIZER_STALLED"


@pytest.mark.parametrize("kind", FOUND)
def test_nothing_is_found_any_more(kind):
    for name in FOUND[kind]:
        hold(name)


@pytest.mark.parametrize("kind", BY_LAPLACE)
def test_nor_of_laplace_fits(kind):
    hold(BY_LAPLACE[kind], "laplace")


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_nor_in_others_of_these_kinds(name):
    hold(name)
