"""Several groups of coefficients, each with a covariance of its own, and none between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.linalg as sl

from lmeformula.arrays import Floats, Ints, Mask, Tensor
from lmeformula.covariance.chart import SMALLEST, Chart, Escape
from lmeformula.covariance.structure import Correlations, Structure


class DirectSum:
    """Sigma is block diagonal, with blocks of one structure and parameters of their own.

    theta holds the log standard deviations of all blocks, then what gives the correlations of each.

    Args:
      structure: of each block.
      count: how many there are, of equally many coefficients.
    Example:
      >>> from lmeformula.covariance.diagonal import Diagonal
      >>> DirectSum(Diagonal(homogeneous=True), 2).cholesky(np.log([2.0, 3.0]), 4).diagonal().round(9).tolist()
      [2.0, 2.0, 3.0, 3.0]
    """

    def __init__(self, structure: Structure, count: int) -> None:
        self.structure, self.count = structure, count
        self.kind = structure.kind
        self.correlations: Correlations = "none" if structure.correlations == "none" else "blocks"

    def least_correlation(self, k: int) -> float:
        return self.structure.least_correlation(k // self.count)

    def tfp_correlation(self, start: Floats, dtype: str) -> tuple[Floats, Any]:
        # Their bijectors are of each number, or of the last two dimensions.
        found = [self.structure.tfp_correlation(block, dtype) for block in self._blocks(start)]
        return np.stack([value for value, _ in found]), found[0][1]

    def tfp_factor(self, value: Tensor, k: int) -> Tensor:
        import tensorflow as tf

        own = k // self.count
        factors = [self.structure.tfp_factor(part, own) for part in tf.unstack(value)]
        blocks = map(tf.linalg.LinearOperatorFullMatrix, factors)
        return tf.linalg.LinearOperatorBlockDiag(list(blocks)).to_dense()

    def matrix_text(self, part: str, k: int) -> str:
        own = self.structure.matrix_text(part, k // self.count)
        return f"R of {self.count} blocks, each with its own parameters: {own}"

    def matrix_latex(self, label: str, k: int) -> str:
        own = self.structure.matrix_latex(label, k // self.count)
        return own + rf" \text{{ in each of }} {self.count} \text{{ blocks}}"

    def rank(self, k: int) -> int:
        return self.count * self.structure.rank(k // self.count)

    def num_params(self, k: int) -> int:
        return self.count * self.structure.num_params(k // self.count)

    def num_sds(self, k: int) -> int:
        return self.count * self.structure.num_sds(k // self.count)

    def cholesky(self, theta: Floats, k: int) -> Floats:
        own = k // self.count
        blocks = [self.structure.cholesky(part, own) for part in self._parts(theta, k)]
        return np.asarray(sl.block_diag(*blocks))

    def cholesky_jacobian(self, theta: Floats, k: int) -> Floats:
        own = k // self.count
        found = np.zeros((len(theta), k, k))
        for block, (places, part) in enumerate(
            zip(self._places(k), self._parts(theta, k), strict=True)
        ):
            here = slice(block * own, (block + 1) * own)
            found[places, here, here] = self.structure.cholesky_jacobian(part, own)
        return found

    def to_free(self, covariance: Floats) -> Floats:
        return self._joined(len(covariance), map(self.structure.to_free, self._blocks(covariance)))

    def off_bounds(self, theta: Floats, k: int, sd: float | Floats) -> tuple[Floats, Mask]:
        own = self.structure.num_sds(k // self.count)
        each = np.broadcast_to(sd, (self.num_sds(k),)).reshape(self.count, own)
        found = [
            self.structure.off_bounds(part, k // self.count, least)
            for part, least in zip(self._parts(theta, k), each, strict=True)
        ]
        inside = np.zeros(len(theta), bool)
        for places, (_, part) in zip(self._places(k), found, strict=True):
            inside[places] = part
        return self._joined(k, (part for part, _ in found)), inside

    def to_report(self, theta: Floats, k: int) -> Floats:
        own = k // self.count
        parts = self._parts(theta, k)
        return self._joined(k, (self.structure.to_report(part, own) for part in parts))

    def report_jacobian(self, theta: Floats, k: int) -> Floats:
        found = np.zeros((len(theta), len(theta)))
        for places, part in zip(self._places(k), self._parts(theta, k), strict=True):
            found[np.ix_(places, places)] = self.structure.report_jacobian(part, k // self.count)
        return found

    def labels(self, columns: Sequence[str]) -> list[tuple[str, str]]:
        k = len(columns)
        found = [("", "")] * self.num_params(k)
        for block, places in enumerate(self._places(k)):
            own = columns[block * k // self.count : (block + 1) * k // self.count]
            for place, (kind, label) in zip(places, self.structure.labels(own), strict=True):
                # What all coefficients of a block share is called by what its columns end in.
                of_all = _last_factor(own[0])
                found[place] = (
                    kind,
                    label if label in own or "," in label else _named(label, of_all),
                )
        return found

    def elements(self, k: int) -> Floats | None:
        own = self.structure.elements(k // self.count)
        if own is None:
            return None
        found = np.zeros((self.count, len(own), k, k))
        for block, each in enumerate(found):
            here = slice(block * k // self.count, (block + 1) * k // self.count)
            each[:, here, here] = own
        return found.reshape(-1, k, k)

    def chart(self, scale: Floats) -> Chart:
        return _Charts([self.structure.chart(part) for part in np.split(scale, self.count)])

    def _blocks(self, matrix: Floats) -> list[Floats]:
        own = len(matrix) // self.count
        starts = range(0, len(matrix), own)
        return [matrix[start : start + own, start : start + own] for start in starts]

    def _places(self, k: int) -> list[Ints]:
        """Of each block, where its own parameters stand."""
        sds, size = (
            self.structure.num_sds(k // self.count),
            self.structure.num_params(k // self.count),
        )
        rest, first = size - sds, self.count * sds
        return [
            np.append(
                np.arange(block * sds, (block + 1) * sds),
                first + np.arange(block * rest, (block + 1) * rest),
            )
            for block in range(self.count)
        ]

    def _parts(self, theta: Floats, k: int) -> list[Floats]:
        return [theta[places] for places in self._places(k)]

    def _joined(self, k: int, parts: Iterable[Floats]) -> Floats:
        found = np.empty(self.num_params(k))
        for places, part in zip(self._places(k), parts, strict=True):
            found[places] = part
        return found


def _last_factor(column: str) -> str:
    """The last of the variables whose product a column is: "a[u:v]" of "x:a[u:v]"."""
    depth = 0
    for place in range(len(column) - 1, -1, -1):
        depth += {"]": 1, "[": -1}.get(column[place], 0)
        if column[place] == ":" and not depth:
            return column[place + 1 :]
    return column


def _named(label: str, of_all: str) -> str:
    return f"{of_all} {label}" if label else of_all


class _Charts:
    """The charts of blocks as one."""

    def __init__(self, charts: list[Chart]) -> None:
        self.charts = charts
        starts = np.cumsum([0, *(chart.size for chart in charts)])
        self.slices = [slice(start, stop) for start, stop in itertools.pairwise(starts)]
        self.owners = [
            (block, face) for block, chart in enumerate(charts) for face in range(len(chart.faces))
        ]
        self.faces = tuple(starts[block] + charts[block].faces[face] for block, face in self.owners)
        self.k = len(charts[0].factor(charts[0].start(1.0)))

    @property
    def size(self) -> int:
        return int(self.slices[-1].stop)

    def start(self, sd: float) -> Floats:
        return np.concatenate([chart.start(sd) for chart in self.charts])

    def near(self, factor: Floats) -> Floats:
        parts = zip(self.charts, self._diagonal(factor), strict=True)
        return np.concatenate([chart.near(part) for chart, part in parts])

    def alternatives(self, start: Floats) -> tuple[Floats, ...]:
        own = [chart.alternatives(part) for chart, part in self._each(start)]
        return tuple(
            np.concatenate(
                [
                    found[number] if number < len(found) else start[here]
                    for found, here in zip(own, self.slices, strict=True)
                ]
            )
            for number in range(max(map(len, own)))
        )

    def settle(self, elements: Floats, least: float = SMALLEST) -> Floats:
        return np.concatenate([chart.settle(part, least) for chart, part in self._each(elements)])

    def factor(self, elements: Floats) -> Floats:
        return np.asarray(
            sl.block_diag(*(chart.factor(part) for chart, part in self._each(elements)))
        )

    def jacobian(self, elements: Floats) -> Floats:
        whole = self.k * len(self.charts)
        found = np.zeros((self.size, whole, whole))
        for block, (chart, part) in enumerate(self._each(elements)):
            here = slice(block * self.k, (block + 1) * self.k)
            found[self.slices[block], here, here] = chart.jacobian(part)
        return found

    def falling(self, elements: Floats, slope: Floats, pull: Floats) -> Floats:
        parts = zip(self._each(elements), self._diagonal(slope), self._diagonal(pull), strict=True)
        return np.asarray(
            sl.block_diag(*(chart.falling(own, s, p) for (chart, own), s, p in parts))
        )

    def idle(self, elements: Floats) -> Mask:
        return np.concatenate([chart.idle(part) for chart, part in self._each(elements)])

    def rest(self, face: int, elements: Floats) -> Floats:
        block, own = self.owners[face]
        found = elements.copy()
        found[self.slices[block]] = self.charts[block].rest(own, elements[self.slices[block]])
        return found

    def escape(
        self, face: int, elements: Floats, score: Floats, slope: Floats, pull: Floats
    ) -> Escape:
        block, own = self.owners[face]
        here = self.slices[block]
        found = self.charts[block].escape(
            own,
            elements[here],
            score[here],
            self._diagonal(slope)[block],
            self._diagonal(pull)[block],
        )
        moved = elements.copy()
        moved[here] = found.elements
        return Escape(moved, found.curvature)

    def _each(self, elements: Floats) -> list[tuple[Chart, Floats]]:
        return [
            (chart, elements[here]) for chart, here in zip(self.charts, self.slices, strict=True)
        ]

    def _diagonal(self, matrix: Floats) -> list[Floats]:
        starts = range(0, len(matrix), self.k)
        return [matrix[start : start + self.k, start : start + self.k] for start in starts]
