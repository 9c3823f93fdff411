"""The relative covariance factors as vectors of free elements, in which likelihoods are maximised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lmeformula.arrays import Floats, Ints, Mask, as_rows
from lmeformula.covariance.chart import (
    SHORT,
    SMALLEST,
    Chart,
    LinearChart,
    bends,
    pull_of,
)
from lmeformula.covariance.known import FixedChart
from lmeformula.covariance.loadings import LoadingsChart
from lmeformula.covariance.structure import Structure
from lmeformula.covariance.unstructured import orthogonal_chart
from lmeformula.model.params import ParamSpace

# A standard deviation of so many standard errors or less may be zero at another, higher maximum.
DOUBTFUL = 4.0
# Elements this near to a face are on it.
ROUNDING = 1e-12
# A standard deviation up to this, of a column of unit size and relative to sigma, changes no digit of V.
NOTHING = 1e-8


@dataclass(frozen=True, eq=False)
class FactorSpace:
    """The free elements of the factors of all terms, each on the scale of its column of the data.

    Attributes:
      charts: of each term, its factor as a function of its elements.
    """

    charts: tuple[Chart, ...]

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return sum(chart.size for chart in self.charts)

    @cached_property
    def faces(self) -> tuple[tuple[int, int], ...]:
        """Every face, as the term that it belongs to and its number there."""
        return tuple(
            (term, face)
            for term, chart in enumerate(self.charts)
            for face in range(len(chart.faces))
        )

    def places(self, term: int, face: int) -> Ints:
        """Positions of the elements of a face."""
        before = sum(chart.size for chart in self.charts[:term])
        return before + self.charts[term].faces[face]

    def split(self, elements: Floats) -> list[Floats]:
        """The elements of each term."""
        parts, start = [], 0
        for chart in self.charts:  # np.split takes ten times as long
            parts.append(elements[start : start + chart.size])
            start += chart.size
        return parts

    @property
    def is_linear(self) -> bool:
        """Whether all factors are combinations of fixed matrices."""
        return all(isinstance(chart, LinearChart) for chart in self.charts)

    def basis(self) -> Floats:
        """(t, k, k) what each element of linear charts adds to the factor of all terms' effects together."""
        parts = [chart.basis for chart in self.charts if isinstance(chart, LinearChart)]
        found = np.zeros((self.size, *(sum(part.shape[1] for part in parts),) * 2))
        start = place = 0
        for part in parts:
            t, k, _ = part.shape
            found[start : start + t, place : place + k, place : place + k] = part
            start, place = start + t, place + k
        return found

    def start(self, sd: float) -> Floats:
        """(t,) elements of independent coefficients, each with that sd on the scale of its column."""
        return np.concatenate([chart.start(sd) for chart in self.charts])

    def near(self, factors: tuple[Floats, ...]) -> Floats:
        """(t,) elements of those factors, or of about as large ones where a chart is not linear in them."""
        return np.concatenate(
            [c.near(factor) for c, factor in zip(self.charts, factors, strict=True)]
        )

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        """Other elements (t,) to start from as well, where a term may have several maxima."""
        own = [c.alternatives(e) for c, e in self._each(start)]
        return tuple(
            np.concatenate(
                [
                    found[number] if number < len(found) else elements
                    for found, elements in zip(own, self.split(start), strict=True)
                ]
            )
            for number in range(max(map(len, own), default=0))
        )

    def doubtful(
        self, elements: Floats, errors: Floats, every: bool = False
    ) -> list[tuple[int, int]]:
        """Faces that a term with several maxima may rest on at a higher one.

        Args:
          elements: (t,) at a maximum.
          errors: (t,) their approximate standard errors.
          every: of all terms, not only of those whose structure is known to have several maxima.
        Returns:
          Of those terms, the faces with an element within DOUBTFUL standard errors; of several elements only
          with `every`.
        """
        found = []
        parts = self.split(elements)
        for term, face in self.faces:
            places = self.places(term, face)
            has_several = every or bool(self.charts[term].alternatives(parts[term]))
            if (len(places) > 1 and not every) or not has_several:
                continue
            apart = np.abs(elements - self.at_rest(term, face, elements))[places]
            if (apart > 0.0).any() and (apart < DOUBTFUL * errors[places]).any():
                found.append((term, face))
        return found

    def correlated(self, elements: Floats) -> Iterator[tuple[LinearChart, Floats, slice]]:
        """Of each unstructured term with correlations its chart, its elements, and their places."""
        start = 0
        for chart, own in self._each(elements):
            if isinstance(chart, LinearChart) and not chart.on_diagonal.all():
                yield chart, own, slice(start, start + chart.size)
            start += chart.size

    def alone(self) -> Ints:
        """Places of standard deviations without correlations: each is a face of its own."""
        found = []
        for term, face in self.faces:
            chart = self.charts[term]
            if isinstance(chart, LinearChart) and chart.on_diagonal.all():
                found += [int(place) for place in self.places(term, face)]
        return np.array(found, np.int64)

    def resting(self, elements: Floats) -> Mask:
        """(t,) which elements (t,) lie on a face, but for rounding."""
        found = np.zeros(self.size, bool)
        for term, face in self.faces:
            places = self.places(term, face)
            moved = self.at_rest(term, face, elements)
            if (np.abs(moved - elements)[places] < ROUNDING).all():
                found[places] = True
        return found

    def any_singular(self, resting: Mask) -> bool:
        """Whether an unstructured covariance of several coefficients lies on a face."""
        return any(resting[here].any() for _, _, here in self.correlated(resting.astype(float)))

    def signs(self, elements: Floats, others: Floats) -> Floats:
        """(t,) signs by which elements (t,), with the same covariances, are on the side where others (t,) are.

        A column of a factor that is linear in its elements may have either sign.
        """
        found, start = np.ones(self.size), 0
        for chart, own in self._each(elements):
            if isinstance(chart, LinearChart):
                for face in chart.faces:
                    if own[face[0]] * others[start + face[0]] < 0.0:
                        found[start + face] = -1.0
            start += chart.size
        return found

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        """The elements, kept that far away from where derivatives lose their digits."""
        return np.concatenate([c.settle(e, least) for c, e in self._each(elements)])

    def factors(self, elements: Floats) -> tuple[Floats, ...]:
        """The (k, k) factor of each term."""
        return tuple(c.factor(e) for c, e in self._each(elements))

    @property
    def is_held(self) -> bool:
        """Whether an ascent takes factors of reduced rank with next to nothing besides; see `limits`."""
        return any(isinstance(chart, LoadingsChart) for chart in self.charts)

    def limits(self, elements: Floats) -> tuple[Floats, ...]:
        """The (k, k) factor of each term as it is, where an ascent holds it up."""
        return tuple(
            c.limit(e) if isinstance(c, LoadingsChart) else c.factor(e)
            for c, e in self._each(elements)
        )

    def changes(self, elements: Floats) -> tuple[Floats, ...]:
        """(t, k, k) derivatives of the factor of each term in its elements."""
        return tuple(c.jacobian(e) for c, e in self._each(elements))

    def pull_back(self, elements: Floats, slopes: tuple[Floats, ...]) -> Floats:
        """(t,) derivatives in the elements from those in each Lambda (k, k)."""
        return np.concatenate(
            [
                as_rows(change) @ slope.ravel()
                for change, slope in zip(self.changes(elements), slopes, strict=True)
            ]
        )

    def pulls(self, elements: Floats, slopes: tuple[Floats, ...]) -> tuple[Floats, ...]:
        """(k, k) derivatives in each covariance, times -2, from those in each Lambda of full rank."""
        return tuple(
            pull_of(factor, slope)
            for factor, slope in zip(self.factors(elements), slopes, strict=True)
        )

    def falling(self, elements: Floats, slopes: tuple[Floats, ...]) -> Floats:
        """The part of the second derivative that comes from Lambda Lambda' being curved in the elements.

        Args:
          elements: (t,).
          slopes: (k, k) derivatives of the log-likelihood in each Lambda.
        Returns:
          (t, t) that part of the negative second derivative; of terms that are linear in their elements its
          positive semidefinite part, as it vanishes at regular maxima.
        """
        total = np.zeros((self.size, self.size))
        start = 0
        for (chart, own), slope in zip(self._each(elements), slopes, strict=True):
            here = slice(start, start + chart.size)
            total[here, here] = chart.falling(own, slope, pull_of(chart.factor(own), slope))
            start += chart.size
        return total

    def bends(self, elements: Floats, slopes: tuple[Floats, ...]) -> Floats:
        """(t, t) second derivative of the factors in the elements, combined with slopes (k, k) in each."""
        total, start = np.zeros((self.size, self.size)), 0
        for (chart, own), slope in zip(self._each(elements), slopes, strict=True):
            if not isinstance(chart, LinearChart):
                here = slice(start, start + chart.size)
                total[here, here] = bends(chart.jacobian, own, slope)
            start += chart.size
        return total

    def idle(self, elements: Floats) -> Mask:
        """(t,) which elements make no difference."""
        return np.concatenate([c.idle(e) for c, e in self._each(elements)])

    def rest(self, elements: Floats, resting: Mask) -> Floats:
        """The elements, those of the faces that rest exactly where they do.

        Beside such a face a coefficient whose standard deviation is less than NOTHING has none.
        """
        found = elements
        for term, face in self.faces:
            if resting[self.places(term, face)].all():
                found = self.at_rest(term, face, found)
        for chart, own, here in self.correlated(found):
            if resting[here].any() and own.any():
                factor = chart.factor(own)
                scale = np.linalg.norm(np.linalg.inv(chart.back), axis=0)
                sizes = scale * np.linalg.norm(factor, axis=1)
                if ((sizes > 0.0) & (sizes < NOTHING)).any():
                    factor[sizes < NOTHING] = 0.0
                    found = found.copy()
                    found[here] = np.where(resting[here], found[here], chart.near(factor))
        return found

    def at_rest(self, term: int, face: int, elements: Floats) -> Floats:
        """The elements with those of one face at its resting place."""
        parts = self.split(elements)
        parts[term] = self.charts[term].rest(face, parts[term])
        return np.concatenate(parts)

    def is_near(self, term: int, face: int, elements: Floats) -> bool:
        """Whether the elements lie next to a face."""
        own, chart = self.split(elements)[term], self.charts[term]
        apart = (own - chart.rest(face, own))[chart.faces[face]]
        return float(np.sqrt(apart @ apart)) < SHORT

    def escape(
        self, term: int, face: int, elements: Floats, score: Floats, slopes: tuple[Floats, ...]
    ) -> tuple[Floats, float]:
        """The best way off a face that rests.

        Args:
          term, face: the face.
          elements: (t,), there.
          score: (t,) derivatives in them.
          slopes: (k, k) derivatives in each Lambda.
        Returns:
          moved: (t,) elements some 10 SHORT away.
          curvature: twice the promised rise of the log-likelihood by the square of that distance.
        """
        parts, scores, chart = self.split(elements), self.split(score), self.charts[term]
        pull = pull_of(chart.factor(parts[term]), slopes[term])
        found = chart.escape(face, parts[term], scores[term], slopes[term], pull)
        parts[term] = found.elements
        return np.concatenate(parts), found.curvature

    def _each(self, elements: Floats) -> zip[tuple[Chart, Floats]]:
        return zip(self.charts, self.split(elements), strict=True)


def factor_space(space: ParamSpace, roots: tuple[Floats, ...], unit: float = 1.0) -> FactorSpace:
    """The charts of the terms' structures.

    Args:
      space: the parameter space.
      roots: (k, k) of each term, lower triangular; see `column_root`. An unstructured covariance is climbed as
        that of orthogonal columns, for which neither the origin nor the unit of a column is a difference; what
        is structured has the columns that it has, each on its own scale.
      unit: what factors are relative to, for those that are known.
    """
    return FactorSpace(
        tuple(
            orthogonal_chart(root)
            if term.structure.correlations == "each"
            else chart_of(term.structure, np.linalg.norm(root, axis=0), unit)
            for term, root in zip(space.terms, roots, strict=True)
        )
    )


def chart_of(structure: Structure, scale: Floats, unit: float = 1.0) -> Chart:
    """The chart of a structure, of factors that are relative to a unit.

    Args:
      structure: of a term.
      scale: (k,) root mean squares of the columns of the data.
      unit: for a covariance that is known.
    """
    found = structure.chart(scale)
    return found.over(unit) if isinstance(found, FixedChart) else found
