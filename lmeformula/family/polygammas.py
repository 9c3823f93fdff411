"""The trigamma and the tetragamma function of arrays, at a tenth of what SciPy's zeta function takes.

Reference: Abramowitz, Stegun (1964), Handbook of Mathematical Functions, 6.4.6 and 6.4.11.
"""

from __future__ import annotations

from typing import Any

# Steps up to where the asymptotic series is exact to rounding, and its Bernoulli numbers B_2, B_4, ...
STEPS = 9
BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)


def trigamma(x: Any) -> Any:
    """The second derivative of the log gamma function at x >= 1, elementwise.

    Example:
      >>> round(trigamma(1.0), 12)  # pi^2 / 6
      1.644934066848
    """
    total: Any = 0.0
    for j in range(STEPS):
        each = 1.0 / (x + j)
        total = total + each * each
    inverse = 1.0 / (x + STEPS)
    square = inverse * inverse
    series: Any = 0.0
    for number in BERNOULLI[::-1]:
        series = (series + number) * square
    return total + inverse * (1.0 + 0.5 * inverse + series)


def tetragamma(x: Any) -> Any:
    """The third derivative.

    Example:
      >>> round(tetragamma(1.0), 12)  # -2 zeta(3)
      -2.404113806319
    """
    total: Any = 0.0
    for j in range(STEPS):
        each = 1.0 / (x + j)
        total = total + each * each * each
    inverse = 1.0 / (x + STEPS)
    square = inverse * inverse
    series: Any = 0.0
    for k in range(len(BERNOULLI), 0, -1):
        series = (series + (2.0 * k + 1.0) * BERNOULLI[k - 1]) * square
    return -2.0 * total - square * (1.0 + inverse + series)
