"""Tukey's studentized range: against mpmath, R, a published table, and Student's t for two means."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from lmeformula.inference.studentized_range import quantile, upper_tail


@pytest.mark.parametrize(
    ("q", "num_means", "df", "expected"),
    [
        # mpmath 1.4.1, 18 digits: quad over s of 2 (f/2)^(f/2) / gamma(f/2) s^(f-1) exp(-f s^2/2) S(q s), where
        # S(w) = k quad(npdf(z) (ncdf(z)^(k-1) - (ncdf(z) - ncdf(z-w))^(k-1))).
        (3.5, 3, 20.0, 0.055891849081749),
        (10.0, 5, 10.0, 0.000255668236672822),
        (3.6, 10, 5.0, 0.406304978866484),
    ],
)
def test_tails_by_more_digits(q, num_means, df, expected):
    assert upper_tail(np.array([q]), num_means, np.array([df]))[0] == pytest.approx(expected, 1e-13)


@pytest.mark.parametrize(
    ("q", "num_means", "df", "expected"),
    [
        # R 4.2.2: ptukey(q, nmeans, df, lower.tail = FALSE), which has some ten digits of one.
        (3.6, 10, 5.0, 0.4063049784045887),
        (6.0, 20, 2.0, 0.323148592222563),
        (1.0, 2, 7.0, 0.5023540170799672),
        (9.0, 6, 120.0, 5.577847039806016e-08),
        (4.0, 100, 30.0, 0.9114316468878203),
    ],
)
def test_tails_of_r(q, num_means, df, expected):
    found = upper_tail(np.array([q]), num_means, np.array([df]))[0]
    assert found == pytest.approx(expected, abs=1e-6 if num_means == 100 else 3e-8)


@pytest.mark.parametrize(
    ("level", "num_means", "df", "expected"),
    [
        # R 4.2.2: qtukey(level, nmeans, df), whose root is found to 1e-4 of it, and mostly nearer.
        (0.95, 3, 20.0, 3.57793458153),
        (0.99, 10, 5.0, 10.2392811066),
        (0.9, 4, 60.0, 3.31190433963),
        (0.95, 50, 12.0, 7.20542103799),
        (0.5, 5, 2.0, 2.7130555572),
        (0.999, 3, np.inf, 5.06345258212),
    ],
)
def test_quantiles_of_r(level, num_means, df, expected):
    found = quantile(level, num_means, np.array([df]))[0]
    assert found == pytest.approx(expected, rel=1e-5)
    assert upper_tail(np.array([found]), num_means, np.array([df]))[0] == pytest.approx(
        1.0 - level, rel=1e-11
    )


def test_a_published_table():
    """Pearson, Hartley (1970), Biometrika Tables for Statisticians 1, table 29: upper 5 % of three."""
    df = np.array([2.0, 5.0, 10.0, 20.0, 60.0, np.inf])
    np.testing.assert_allclose(
        quantile(0.95, 3, df), [8.33, 4.60, 3.88, 3.58, 3.40, 3.31], atol=5.1e-3
    )


@pytest.mark.parametrize("df", [0.3, 1.0, 4.5, 30.0, 2e3, 1e7, np.inf])
def test_the_range_of_two_is_a_difference(df):
    """Student's t over the root of two, far out as well: no digit is lost to one."""
    q = np.array([0.3, 1.0, 2.0, 7.0, 30.0, 300.0])
    exact = 2.0 * stats.t.sf(q / np.sqrt(2.0), df)
    some = exact > 1e-290
    found = upper_tail(q, 2, np.full(len(q), df))
    np.testing.assert_allclose(found[some], exact[some], rtol=1e-9 if df == 1e7 else 1e-12)
    np.testing.assert_allclose(
        quantile(0.9, 2, np.array([df])), np.sqrt(2.0) * stats.t.ppf(0.95, df), rtol=1e-12
    )


@pytest.mark.parametrize(("q", "num_means"), [(0.4, 3), (3.0, 7), (9.0, 40), (16.0, 5)])
def test_ranges_of_normal_numbers(q, num_means):
    """Against an integral by adaptive quadrature, of what small chances lose no digit in."""

    def density(z):
        up, down = stats.norm.cdf(z), stats.norm.cdf(z - q)
        with np.errstate(divide="ignore"):
            fall = -np.expm1((num_means - 1.0) * np.log1p(-down / up))
        return num_means * stats.norm.pdf(z) * up ** (num_means - 1.0) * fall

    middle = 0.5 * q
    parts = [
        integrate.quad(density, middle + a, middle + a + 3.0, epsabs=0.0, epsrel=1e-13)[0]
        for a in np.arange(-9.0, 9.0, 3.0)
    ]
    found = upper_tail(np.array([q]), num_means, np.array([np.inf]))[0]
    assert found == pytest.approx(sum(parts), rel=1e-12)


def test_ends():
    assert upper_tail(np.array([0.0]), 3, np.array([5.0]))[0] == 1.0
    assert np.isnan(upper_tail(np.array([np.nan]), 3, np.array([5.0]))[0])
    assert quantile(0.95, 3, np.array([7.0, np.inf, 7.0]))[[0, 2]].std() == 0.0
