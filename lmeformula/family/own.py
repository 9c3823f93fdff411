"""The parameters that a response family has of its own: a residual sd, thresholds, a dispersion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lmeformula.arrays import Floats, Tensor
from lmeformula.startup import tf, tfp


class Scale(Protocol):
    """How natural values (v,) follow from unconstrained ones (f,); mostly v is f.

    Scales of one kind are equal: what was compiled for a fit serves the next.
    """

    def to_natural(self, free: Floats) -> Floats:
        """(v,) natural values."""

    def to_free(self, natural: Floats) -> Floats:
        """(f,) unconstrained values; the inverse of `to_natural`."""

    def jacobian(self, free: Floats) -> Floats:
        """(v, f) derivative of the natural values (rows) in the free ones (columns)."""

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """(f, f) second derivative of the natural values in the free ones, combined with `slope` (v,)."""

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Natural values from free ones, element by element, in TensorFlow."""

    def bijector(self) -> Any:
        """The same as a TFP bijector of a vector, or of a scalar where there is one element."""


@dataclass(frozen=True)
class Positive:
    """Positive numbers, free on the log scale.

    Example:
      >>> Positive().to_natural(np.array([0.0])).tolist()
      [1.0]
    """

    def to_natural(self, free: Floats) -> Floats:
        """Exponentials."""
        return np.exp(free)

    def to_free(self, natural: Floats) -> Floats:
        """Logarithms."""
        return np.log(natural)

    def jacobian(self, free: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(np.diag(np.exp(free)))

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Diagonal."""
        return np.asarray(np.diag(np.exp(free) * slope))

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Exponentials."""
        return tuple(tf.exp(value) for value in free)

    def bijector(self) -> Any:
        """tfb.Exp."""
        return tfp.bijectors.Exp()


@dataclass(frozen=True)
class Ascending:
    """Increasing numbers: the first one free, the others by the logarithms of their distances.

    Example:
      >>> Ascending().to_natural(np.array([-1.0, 0.0, 0.0])).tolist()
      [-1.0, 0.0, 1.0]
    """

    def to_natural(self, free: Floats) -> Floats:
        """Sums of the first and of the distances."""
        return np.cumsum(np.concatenate([free[:1], np.exp(free[1:])]))

    def to_free(self, natural: Floats) -> Floats:
        """The first, and logarithms of the distances."""
        return np.concatenate([natural[:1], np.log(np.diff(natural))])

    def jacobian(self, free: Floats) -> Floats:
        """Lower triangular."""
        steps = np.concatenate([np.ones(1), np.exp(free[1:])])
        return np.tril(np.broadcast_to(steps, (len(free), len(free))))

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Diagonal: each distance moves all later thresholds."""
        later = np.cumsum(slope[::-1])[::-1]
        return np.asarray(np.diag(np.concatenate([np.zeros(1), (np.exp(free) * later)[1:]])))

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Sums of the first and of the distances."""
        found = [free[0]]
        for value in free[1:]:
            found.append(found[-1] + tf.exp(value))
        return tuple(found)

    def bijector(self) -> Any:
        """tfb.Ascending."""
        return tfp.bijectors.Ascending()


@dataclass(frozen=True)
class Held:
    """Numbers of which some are held: nothing of them is free.

    Attributes:
      values: (v) the natural values that are held; None for what is free.
      scale: of what is free.
    Example:
      >>> Held((1.5, None)).to_natural(np.zeros(1)).tolist()
      [1.5, 1.0]
    """

    values: tuple[float | None, ...]
    scale: Scale = Positive()

    @property
    def free(self) -> list[int]:
        """(f) places of what is free."""
        return [place for place, value in enumerate(self.values) if value is None]

    def to_natural(self, free: Floats) -> Floats:
        """What they are held at, and the others."""
        found = np.array([0.0 if value is None else value for value in self.values])
        found[self.free] = self.scale.to_natural(free)
        return found

    def to_free(self, natural: Floats) -> Floats:
        """The others alone."""
        return self.scale.to_free(np.asarray(natural)[self.free])

    def jacobian(self, free: Floats) -> Floats:
        """Rows of zeros for what is held."""
        found = np.zeros((len(self.values), len(free)))
        found[self.free] = self.scale.jacobian(free)
        return found

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """That of the others."""
        return self.scale.bend(free, slope[self.free])

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Numbers for what is held, to be of the precision of what they are combined with."""
        others = iter(self.scale.tensors(free))
        return tuple(next(others) if value is None else value for value in self.values)

    def bijector(self) -> Any:
        """None: there is no variable behind them."""
        return None


def scale_of(scale: Scale, places: Sequence[int]) -> Scale:
    """The scale of some of the numbers (v,), each of which is free by itself."""
    some = getattr(scale, "at", None)
    return scale if some is None else some(tuple(places))


class Own(NamedTuple):
    """The own parameters of a family, for one response.

    Attributes:
      variable: what the joint distribution calls them.
      names: (f) how they are reported: one name for each unconstrained value.
      start: (v,) natural values to start from; these are what the family's functions take.
      scale: from unconstrained to natural values.
      values: (v) names of the natural values, where they are not what is reported.
      report: (f, v) what is reported from the natural values; by default themselves.
    """

    variable: str
    names: tuple[str, ...]
    start: Floats
    scale: Scale
    values: tuple[str, ...] = ()
    report: Floats | None = None

    @property
    def size(self) -> int:
        """f, how many are estimated."""
        return len(self.names)

    @property
    def natural_names(self) -> tuple[str, ...]:
        """(v) names of the natural values."""
        return self.values or self.names

    @property
    def is_held(self) -> bool:
        """Whether all are held: they start and stay at `start`."""
        return isinstance(self.scale, Held) and not self.scale.free

    def held_at(self, held: Mapping[int, float]) -> Own:
        """The same with some natural values (v,) held, by their places: the others are estimated.

        Example:
          >>> positive("shape", 1.0).held_at({0: 1.5}).names
          ()
        """
        before = self.scale if isinstance(self.scale, Held) else Held((None,) * len(self.start))
        inner = before.scale if isinstance(self.scale, Held) else self.scale
        values = tuple(held.get(place, value) for place, value in enumerate(before.values))
        kept = [number for number, place in enumerate(before.free) if values[place] is None]
        report = np.eye(len(values))[before.free] if self.report is None else self.report
        return Own(
            self.variable,
            tuple(self.names[number] for number in kept),
            np.array(
                [a if b is None else b for a, b in zip(self.start, values, strict=True)], float
            ),
            Held(values, scale_of(inner, kept) if kept else Positive()),
            self.natural_names,
            report[kept],
        )

    def without(self, places: Sequence[int]) -> Own:
        """The same but for those at some places, which something else accounts for."""
        kept = [place for place in range(self.size) if place not in places]
        if not places or not kept:
            return self if kept else NO_OWN
        names = tuple(self.names[place] for place in kept)
        return Own("_and_".join(names), names, self.start[kept], scale_of(self.scale, kept))

    def to_report(self, free: Floats) -> Floats:
        """(f,) what is reported at unconstrained values (f,)."""
        natural = self.scale.to_natural(free)
        return natural if self.report is None else self.report @ natural

    def report_jacobian(self, free: Floats) -> Floats:
        """(f, f) its derivative in them."""
        jacobian = self.scale.jacobian(free)
        return jacobian if self.report is None else self.report @ jacobian


NO_OWN = Own("", (), np.zeros(0), Positive())
NO_OWN.start.flags.writeable = False


def positive(name: str, start: float) -> Own:
    """One positive parameter."""
    return Own(name, (name,), np.array([start]), Positive())
