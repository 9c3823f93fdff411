"""What a fit may claim, from the derivatives of its likelihood at the estimates; see `certificate.py`.

Stationarity is judged direction by direction on the scale of the information, never along one step; a direction
without information is named. At a bound the sign of the derivative counts (Karush, Kuhn and Tucker).

References: Nocedal, Wright (2006), Numerical Optimization, section 12.3, for conditions at bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lmeformula.arrays import Floats, Mask
from lmeformula.certificate import Certificate, Claim
from lmeformula.covariance.eigen import symmetric_eigen
from lmeformula.em.outcome import Outcome
from lmeformula.estimation.coordinates import (
    NO_INFORMATION,
    Arrival,
    least_known,
    told,
)
from lmeformula.family.runaway import Met

# Two ways to a log-likelihood differ by rounding, of its own size and of the rows' terms that it
# sums; less than the other is no difference.
ROUNDING, LEAST_DIFFERENCE = 1e-10, 1e-6
# Most that the log-likelihood may rise still, over all directions.
MOST_GAIN = 1e-6
# An eigenvalue may be off by so much of the gradient that is left, relative to the information, up to a limit.
SLOPE_NOISE, MOST_NOISE = 10.0, 1e-4
# A parameter belongs to a direction that has at least this much of it.
LOADING = 0.2
# A parameter with a part as small as this in a flat direction may have lost its standard error to that.
PART = 1e-5
# Share of what is allowed of a rise off a bound below which there is neither rise nor fall.
LEVEL = 1e-5
# Standard deviations beyond which a Monte Carlo error is no explanation.
RARE = 4.0
# Parameters named in one sentence.
MOST_NAMES = 6


class Bound(NamedTuple):
    """A bound that estimates rest on.

    Attributes:
      names: what rests there.
      rise: how fast the log-likelihood rises on the best way inside; not positive at a maximum.
      allowed: up to here a rise is rounding, or Monte Carlo error.
      noise: below it there is neither rise nor fall.
    """

    names: tuple[str, ...]
    rise: float
    allowed: float
    noise: float = 0.0


class Evidence(NamedTuple):
    """What was found at the estimates.

    Attributes:
      names: (d,) of the parameters.
      inside: (d,) which are off their bounds, and determined.
      gradient: (d,) of the log-likelihood in psi.
      information: (d, d) its negative second derivative; of what is not inside nothing is read.
      back: (d, d) derivative of psi in coordinates where units and origins are no lack of information; see
        `estimation.coordinates`.
      least: (d,) information that is none; see `estimation.coordinates`.
      noise: error of the information, relative to its diagonal.
      scatter: (d, d) Monte Carlo covariance of the gradient, that of the place included; None without.
      expected: (d,) what the information of each parameter would be by itself; nan where that is not known.
      stderr: (d,) the standard errors that the fit reports.
      bounds: those that estimates rest on.
      value: the log-likelihood that the fit reports.
      second: the same by another way; nan where there is none.
      allowed: the difference that rounding explains.
      way: what the other way is, in words.
      num_fixed: how many of the parameters, the first ones, are no logarithms but fixed effects.
      alike: names of what differs among parameters with the same distribution of the responses.
      drawn: what is claimed by draws, in place of stationarity and a second opinion, which take a gradient.
      further: what is claimed besides.
    """

    names: tuple[str, ...]
    inside: Mask
    gradient: Floats
    information: Floats
    back: Floats
    least: Floats
    expected: Floats
    stderr: Floats
    bounds: tuple[Bound, ...]
    value: float
    noise: float = 0.0
    scatter: Floats | None = None
    second: float = math.nan
    allowed: float = math.nan
    way: str = ""
    num_fixed: int = 0
    alike: tuple[str, ...] = ()
    drawn: tuple[Claim, ...] = ()
    further: tuple[Claim, ...] = ()

    @classmethod
    def of(cls, at: Arrival, *, expected: Floats | None = None, **found: Any) -> Evidence:
        """What was found where a fit ended.

        Args:
          at: where it ended.
          expected: as in the record; by default not known.
          found: the rest of the record.
        """
        assert at.stderr is not None
        space, psi, inside, undetermined = at.model.space, at.psi, at.inside, at.undetermined
        if expected is None:
            expected = np.full(space.size, np.nan)
        least = least_known(space, psi)
        information = at.in_psi
        known = told(information, inside, least, expected)
        names = np.array(space.names, object)[space.num_fixed :]
        return cls(
            names=space.names,
            inside=inside,
            information=information,
            back=at.coordinates(known),
            least=least,
            expected=expected,
            stderr=at.stderr,
            value=at.value,
            num_fixed=space.num_fixed,
            alike=() if undetermined is None else tuple(names[: len(undetermined)][undetermined]),
            **found,
        )


# What a kind of likelihood knows: it is asked where a fit ended, apart from the ascent that led there.
Witness = Callable[[Arrival], Evidence]


class Directions(NamedTuple):
    """The information in its own directions.

    Attributes:
      names: (m,) of the parameters that have information by themselves.
      nothing: names of those that have none.
      values: (m,) eigenvalues of the information, scaled to a unit diagonal.
      vectors: (m, m) their vectors, in columns.
      moves: (m, m) the same as changes of the parameters, in units of what each is known to by itself.
      gains: (m,) rise of the log-likelihood that is left along each; 0 without information.
      chance: (m,) what the rise along each would be by Monte Carlo error alone, on average.
      floors: (m,) an eigenvalue below its own is rounding.
    """

    names: tuple[str, ...]
    nothing: tuple[str, ...]
    values: Floats
    vectors: Floats
    moves: Floats
    gains: Floats
    chance: Floats
    floors: Floats


def certify(at: Arrival, witness: Witness) -> Certificate:
    """Examine where a fit ended.

    Args:
      at: where.
      witness: what there is of evidence.
    """
    return claimed(witness(at))


def claimed(found: Evidence) -> Certificate:
    """Make a claim of each kind of evidence.

    Args:
      found: the evidence.
    Returns:
      The certificate: stationarity, curvature, boundaries, covariance, second opinion, and what else there is.
    """
    ways = directions(found)
    return Certificate(
        (
            *(found.drawn or (_stationarity(ways),)),
            _curvature(ways, found.bounds, found.alike),
            _boundaries(found.bounds),
            _covariance(found, ways),
            *(() if found.drawn else (_second_opinion(found),)),
            *found.further,
        )
    )


def without_limit(met: Met, where: str = "its limit") -> Certificate:
    """Say of a likelihood without a maximum that there is nothing to examine.

    Args:
      met: what the responses are exactly.
      where: what the parameter that knows runs to.
    """
    words = (
        f"{met.says}, to {met.spread:.0e} of their size: {met.name} runs to {where} and the likelihood to "
        "infinity"
    )
    return Certificate((Claim("residuals", False, met.spread, met.least, (met.name,), words),))


def predicted_perfectly(names: tuple[str, ...]) -> Claim:
    """Say of parameters without a finite estimate that the likelihood has no maximum in them."""
    words = (
        f"responses are predicted perfectly: the likelihood rises for ever along {_listed(names)}"
    )
    return Claim("separation", False, math.nan, math.nan, names, words)


def nothing_to_examine() -> Certificate:
    """Say of a fit whose derivatives cannot be worked out that nothing was proven."""
    words = (
        "derivatives at the estimates are beyond what numbers of this precision tell: sigma is too small a "
        "share of the effects"
    )
    return Certificate((Claim("stationarity", False, math.nan, math.nan, ("sigma",), words),))


def ending(outcome: Outcome, certificate: Certificate) -> Outcome:
    """How a fit ended, by what was found at its end rather than by how the optimiser felt.

    Args:
      outcome: by the optimiser.
      certificate: by what was found.
    Returns:
      The optimiser's outcome, unless it only says whether there is a maximum, and the certificate knows.
    """
    failing = certificate.failing
    is_level = all(claim.name == "curvature" and claim.figure >= 0.0 for claim in failing)
    if outcome is Outcome.DRAWS_EXHAUSTED and failing and is_level:
        # More draws would not tell either.
        return Outcome.UNIDENTIFIED
    if outcome not in (Outcome.CONVERGED, Outcome.BOUNDARY, Outcome.OPTIMIZER_STALLED):
        return outcome
    if not failing:
        return Outcome.CONVERGED if outcome is Outcome.OPTIMIZER_STALLED else outcome
    return Outcome.UNIDENTIFIED if is_level else Outcome.OPTIMIZER_STALLED


def directions(found: Evidence) -> Directions:
    """Look at the information in its own directions."""
    names = np.array(found.names, object)
    diagonal = np.diag(found.information)
    has_some = told(found.information, found.inside, found.least, found.expected)
    back = found.back[np.ix_(has_some, has_some)]
    information = back.T @ found.information[np.ix_(has_some, has_some)] @ back
    scale = np.sqrt(np.abs(np.diag(information)))
    scale = np.where(scale > 0.0, scale, 1.0)
    scaled = information / np.outer(scale, scale)
    if not np.isfinite(scaled).all():
        scaled = np.zeros_like(scaled)
    values, vectors = symmetric_eigen(scaled)
    turned = vectors.T @ (back / scale).T
    # On a logarithmic scale the second derivative has the first one in it, which is not quite zero; each
    # direction has its own share of that, and fixed effects, in whatever unit, have none. With its sign: of
    # columns far from their origin the slopes of two sds are large, and of opposite signs.
    slope = found.gradient.copy()
    slope[: found.num_fixed] = 0.0
    noise = np.maximum(
        max(NO_INFORMATION, found.noise), SLOPE_NOISE * np.abs(np.square(turned) @ slope[has_some])
    )
    floors = np.minimum(noise, MOST_NOISE) * max(1, len(values))
    chance = np.zeros(len(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        along = turned @ found.gradient[has_some]
        gains = np.where(values > floors, along**2 / (2.0 * values), 0.0)
        if found.scatter is not None:
            inner = found.scatter[np.ix_(has_some, has_some)]
            variances = np.einsum("ij,jk,ik->i", turned, inner, turned)
            chance = np.where(values > floors, variances / (2.0 * values), 0.0)
    own = np.sqrt(np.abs(diagonal[has_some]))
    return Directions(
        names=tuple(names[has_some]),
        nothing=tuple(names[found.inside & ~has_some]),
        values=values,
        vectors=vectors,
        moves=own[:, None] * (back @ (vectors / scale[:, None])),
        gains=gains,
        chance=chance,
        floors=floors,
    )


def _stationarity(ways: Directions) -> Claim:
    gain = float(ways.gains.sum())
    # The sum of squares of normal variables that are not independent: its mean, and room for the largest one.
    chance = (math.sqrt(ways.chance.sum()) + RARE * math.sqrt(ways.chance.max(initial=0.0))) ** 2
    allowed = MOST_GAIN + chance
    holds = math.isfinite(gain) and gain <= allowed
    names: tuple[str, ...] = ()
    words = f"the log-likelihood would rise by {gain:.1e} at most, over all directions"
    if not holds:
        steepest = int(np.argmax(np.where(np.isfinite(ways.gains), ways.gains, np.inf)))
        names = _loading(ways, steepest)
        words = f"the log-likelihood would still rise by {gain:.1e}, along {_listed(names)}"
    return Claim("stationarity", holds, gain, allowed, names, words)


def _curvature(ways: Directions, bounds: tuple[Bound, ...], alike: tuple[str, ...]) -> Claim:
    values, floors = ways.values, ways.floors
    worst = int(np.argmin(values)) if len(values) else 0
    least, floor = (float(values[worst]), float(floors[worst])) if len(values) else (1.0, 0.0)
    if least < -floor:
        names = _loading(ways, worst)
        words = f"the log-likelihood bends upwards along {_listed(names)}: this is no maximum"
        return Claim("curvature", False, least, floor, names, words)
    flat = [_loading(ways, int(place)) for place in np.flatnonzero(values <= floors)]
    # Neither rising nor falling off a bound: the likelihood is the same whatever the value is.
    flat += [
        bound.names
        for bound in bounds
        if bound.allowed > 0.0 and abs(bound.rise) < max(bound.noise, LEVEL * bound.allowed)
    ]
    flat.append(alike)
    names = tuple(dict.fromkeys([*ways.nothing, *(name for group in flat for name in group)]))
    if names:
        words = f"the data say nothing on {_listed(names)}, or on a combination of them"
        return Claim("curvature", False, 0.0, floor, names, words)
    words = f"information in every direction: at least {least:.1e} of what its parameters have"
    return Claim("curvature", True, least, floor, (), words)


def _boundaries(bounds: tuple[Bound, ...]) -> Claim:
    wrong = [bound for bound in bounds if not bound.rise <= bound.allowed]
    names = tuple(dict.fromkeys(name for bound in wrong or bounds for name in bound.names))
    rise = max((bound.rise for bound in wrong or bounds), default=0.0)
    allowed = max((bound.allowed for bound in wrong or bounds), default=0.0)
    if wrong:
        words = f"the log-likelihood rises away from the bound that {_listed(names)} rests on"
        return Claim("boundaries", False, rise, allowed, names, words)
    words = "nothing rests on a bound"
    # Of what is allowed for noise, some may be a rise.
    level = [name for bound in bounds if bound.rise > -bound.allowed for name in bound.names]
    if level:
        known = f"within {allowed:.1e}, as well as it is known"
        words = (
            f"at a bound, about which the log-likelihood is level {known}: {_listed(tuple(level))}"
        )
    elif bounds:
        words = f"at a bound, from where the log-likelihood falls: {_listed(names)}"
    return Claim("boundaries", True, rise, allowed, names, words)


def _covariance(found: Evidence, ways: Directions) -> Claim:
    determined = np.isin(found.names, ways.names) & found.inside
    flat = np.flatnonzero(ways.values <= ways.floors)
    loose = {name for place in flat for name in _loading(ways, int(place), PART)}
    loose.update(found.alike)
    wanted = determined & ~np.isin(found.names, tuple(loose))
    bad = wanted & ~(np.isfinite(found.stderr) & (found.stderr > 0.0))
    names = tuple(np.array(found.names, object)[bad])
    words = "every parameter inside its bounds has a standard error"
    if names:
        words = f"no usable standard error of {_listed(names)}"
    return Claim("covariance", not names, float(bad.sum()), 0.0, names, words)


def _second_opinion(found: Evidence) -> Claim:
    gap = abs(found.value - found.second)
    if math.isnan(gap):
        words = "the log-likelihood was worked out in one way only"
        return Claim("second opinion", None, math.nan, math.nan, (), words)
    holds = gap <= found.allowed
    words = f"the log-likelihood by {found.way} differs by {gap:.1e}"
    return Claim("second opinion", holds, gap, found.allowed, (), words)


def _loading(ways: Directions, place: int, least: float = LOADING) -> tuple[str, ...]:
    """The parameters that a direction is made of."""
    sizes = np.abs(ways.moves[:, place])
    chosen = np.flatnonzero(sizes >= least * sizes.max(initial=0.0))
    order = chosen[np.argsort(-sizes[chosen])]
    return tuple(ways.names[i] for i in order)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f", ... {more} more" if more > 0 else "")
