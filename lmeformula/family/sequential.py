"""Ordered categories reached one after the other: stopping ratios and continuation ratios.

sratio: P(y = k | y >= k) = F(threshold_k - eta); cratio: P(y > k | y >= k) = F(eta - threshold_k). A larger
predictor makes higher categories likelier in both; where F is symmetric (logit, probit) they are one family.
Each category that a row passes, and the one where it stops, is a yes or no by itself.

References: Tutz (1991), Comput. Stat. Data Anal. 11, 275-295; Buerkner, Vuorre (2019), Adv. Methods Pract.
Psychol. Sci. 2, 77-101, whose signs these are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lmeformula.arrays import Floats, Tensor
from lmeformula.family.jets import Jet, Jets, jets
from lmeformula.family.links import LINKS
from lmeformula.family.notation import Notation, ordered
from lmeformula.family.ordered_family import ordered_family
from lmeformula.family.record import Arrays, ClosedForm, Depths, Family, Slopes
from lmeformula.family.thresholds import Pattern
from lmeformula.startup import tf


class _Ratio(NamedTuple):
    """One of the two families: what is the logarithm of the chance to stop, and of that to pass.

    Attributes:
      name: of the family.
      sign: of eta in the argument of F, -1 or 1; the thresholds have the other one.
      stop, go: names of these logarithms among those of a link.
      notation: how it is written.
    """

    name: str
    sign: float
    stop: str
    go: str
    notation: Notation


_STOPPING = _Ratio(
    "sratio", -1.0, "log_cdf", "log_survival", ordered("StoppingRatio", "{y} = k | k {le} {y}")
)
_CONTINUATION = _Ratio(
    "cratio",
    1.0,
    "log_survival",
    "log_cdf",
    ordered("ContinuationRatio", "k < {y} | k {le} {y}", is_above=True),
)


@functools.cache
def sratio(link: str, thresholds: Pattern = "flexible") -> Family:
    """Ordered categories by stopping ratios, with that link and that pattern of the thresholds."""
    return _family(_STOPPING, link, thresholds)


@functools.cache
def cratio(link: str, thresholds: Pattern = "flexible") -> Family:
    """Ordered categories by continuation ratios, with that link and that pattern of the thresholds."""
    return _family(_CONTINUATION, link, thresholds)


def _family(ratio: _Ratio, link: str, thresholds: Pattern) -> Family:
    chosen, derivatives = LINKS[link], jets(link)
    stop, go = getattr(chosen, ratio.stop), getattr(chosen, ratio.go)

    def start(counts: Floats) -> Floats:
        stopping = (counts / np.cumsum(counts[::-1])[::-1])[:-1]
        # The chance that F stands for is that of stopping, or of going on.
        return -ratio.sign * chosen.forward(stopping if ratio.sign < 0 else 1.0 - stopping)

    def density(eta: Tensor, response: Arrays, own: tuple[Tensor, ...]) -> Tensor:
        indicators: Tensor = response[1]
        value: Tensor = 0.0
        reached: Tensor = 1.0
        for k in range(len(own)):
            x = ratio.sign * (eta - own[k])
            here = indicators[:, k, None]
            reached = reached - here
            value = value + here * stop(x) + reached * go(x)
        return value

    def logits(eta: Tensor, own: tuple[Tensor, ...]) -> list[Tensor]:
        logs, passed = [], tf.zeros_like(eta)
        for k in range(len(own)):
            x = ratio.sign * (eta - own[k])
            logs.append(passed + stop(x))
            passed = passed + go(x)
        return [*logs, passed]

    def probabilities(eta: Floats, own: Floats) -> Floats:
        x = ratio.sign * (eta[:, None] - own)
        ends = getattr(derivatives, ratio.stop)(x).value
        passed = np.cumsum(getattr(derivatives, ratio.go)(x).value, axis=1)
        none = np.zeros((len(eta), 1))
        return np.asarray(np.exp(np.hstack([none, passed]) + np.hstack([ends, none])))

    return ordered_family(
        ratio.name,
        link,
        thresholds,
        start=start,
        logits=logits,
        probabilities=probabilities,
        log_density=density,
        closed=_closed(ratio, derivatives),
        notation=ratio.notation,
    )


def _closed(ratio: _Ratio, derivatives: Jets) -> ClosedForm:
    """The derivatives: sums over the thresholds that a row came to, in each of which all is a function of x."""
    stop: Callable[[Floats], Jet] = getattr(derivatives, ratio.stop)
    go: Callable[[Floats], Jet] = getattr(derivatives, ratio.go)

    def steps(eta: Floats, response: Arrays, own: Floats) -> list[tuple[NDArray[np.intp], Jet]]:
        """For each threshold the rows that came to it, and the jet of what happened there."""
        codes, found = response[0], []
        for k in range(len(own)):
            stopped, passed = np.flatnonzero(codes == k), np.flatnonzero(codes > k)
            ends = stop(ratio.sign * (eta[stopped] - own[k]))
            goes = go(ratio.sign * (eta[passed] - own[k]))
            jet = Jet(*(np.concatenate(both) for both in zip(ends, goes, strict=True)))
            found.append((np.concatenate([stopped, passed]), jet))
        return found

    def slopes(eta: Floats, response: Arrays, own: Floats) -> Slopes:
        value, first, second = np.zeros((3, len(eta)))
        for rows, jet in steps(eta, response, own):
            value[rows] += jet.value
            first[rows] += ratio.sign * jet.first
            second[rows] += jet.second
        return Slopes(value, first, second)

    def depths(eta: Floats, response: Arrays, own: Floats) -> Depths:
        f, n = len(own), len(eta)
        third, own_first, own_second = np.zeros(n), np.zeros((f, n)), np.zeros((f, n))
        own_each, own_own = np.zeros((f, n)), np.zeros((f, f))
        for k, (rows, jet) in enumerate(steps(eta, response, own)):
            third[rows] += ratio.sign * jet.third
            own_first[k, rows], own_second[k, rows] = -jet.second, -ratio.sign * jet.third
            own_each[k, rows], own_own[k, k] = -ratio.sign * jet.first, jet.second.sum()
        return Depths(third, own_each, own_own, own_first, own_second)

    return ClosedForm(slopes, depths)
