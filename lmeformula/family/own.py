"""The parameters that a response family has of its own: a residual sd, thresholds, a dispersion."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Numbers that are held: nothing of them is free.

    Attributes:
      values: (v) the natural values.
    Example:
      >>> Held((1.5,)).to_natural(np.zeros(0)).tolist()
      [1.5]
    """

    values: tuple[float, ...]

    def to_natural(self, free: Floats) -> Floats:
        """What they are held at."""
        return np.array(self.values)

    def to_free(self, natural: Floats) -> Floats:
        """None."""
        return np.zeros(0)

    def jacobian(self, free: Floats) -> Floats:
        """No columns."""
        return np.zeros((len(self.values), 0))

    def bend(self, free: Floats, slope: Floats) -> Floats:
        """Empty."""
        return np.zeros((0, 0))

    def tensors(self, free: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Numbers, of the precision of what they are combined with."""
        return self.values

    def bijector(self) -> Any:
        """None: there is no variable behind them."""
        return None


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
    def is_held(self) -> bool:
        """Whether the user holds them: they start and stay at `start`."""
        return isinstance(self.scale, Held)

    def held_at(self, *values: float) -> Own:
        """The same, held at natural values (v): none is estimated."""
        return Own(
            self.variable,
            (),
            np.array(values),
            Held(values),
            self.values or self.names,
            np.zeros((0, len(values))),
        )

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
