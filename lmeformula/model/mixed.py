"""The TFP classes of a model's joint distribution: variables stay in sight, copies and files work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import tensorflow as tf
import tensorflow_probability as tfp

from lmeformula.arrays import Tensor
from lmeformula.errors import ModelError

Variable: TypeAlias = Any


class PinnedJoint(tfp.experimental.distributions.JointDistributionPinned):  # type: ignore[misc]
    """A joint distribution with some parts held at given values, which also tells its variables."""

    @property
    def trainable_variables(self) -> tuple[Variable, ...]:
        """Those of the joint distribution."""
        return tuple(self.distribution.trainable_variables)


class MixedJointDistribution(tfp.distributions.JointDistributionNamed):  # type: ignore[misc]
    """A JointDistributionNamed that keeps its trainable variables in sight when it is pinned.

    Args:
      model: the parts by name.
      build_again: () -> another one of the same model, with variables of its own.
    """

    def __init__(self, model: Mapping[str, Any], build_again: Callable[[], Any]) -> None:
        super().__init__(model, batch_ndims=0, name="joint")
        self._build_again = build_again
        # What TFP keeps there is for itself, and has keys that no file of TensorFlow can have.
        del self._single_sample_distributions
        object.__setattr__(self, "_single_sample_distributions", {})

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict[str, Any]:
        """None: what varies are the variables, which `trainable_variables` lists."""
        return {}

    def experimental_pin(self, *args: Tensor, **kwargs: Tensor) -> PinnedJoint:
        """As in TFP, with `trainable_variables` on the result."""
        self._check_types(args, kwargs)
        return PinnedJoint(self, *args, **kwargs)

    def log_prob(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """As in TFP; a value of another type of numbers is refused."""
        self._check_types(args, kwargs)
        return super().log_prob(*args, **kwargs)

    def prob(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """As in TFP; a value of another type of numbers is refused."""
        self._check_types(args, kwargs)
        return super().prob(*args, **kwargs)

    def log_prob_parts(self, *args: Any, **kwargs: Any) -> Any:
        """As in TFP; a value of another type of numbers is refused."""
        self._check_types((*args, kwargs.get("value")), kwargs)
        return super().log_prob_parts(*args, **kwargs)

    def sample_distributions(self, *args: Any, **kwargs: Any) -> Any:
        """As in TFP; a value of another type of numbers is refused."""
        self._check_types((*args, kwargs.get("value")), kwargs)
        return super().sample_distributions(*args, **kwargs)

    def _check_types(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Tensors must be of the model's type; arrays of any become it."""
        given = dict(kwargs)
        for arg in args:
            if hasattr(arg, "_asdict"):
                given |= arg._asdict()
            elif isinstance(arg, Mapping):
                given |= arg
        for name, dtype in self.dtype.items():
            value = given.get(name)
            found = getattr(value, "dtype", None) if tf.is_tensor(value) else None
            if found is not None and found != dtype:
                raise ModelError(
                    f"the part {name!r} of the joint distribution is of {dtype.name} numbers, and the value "
                    f"given for it of {found.name}",
                    hint=f"Write tf.cast({name}, tf.{dtype.name}), or compile the model with "
                    f'dtype="{found.name}".'
                    if found in (tf.float32, tf.float64)
                    else f"Write tf.cast({name}, tf.{dtype.name}).",
                )

    def __deepcopy__(self, memo: dict[int, Any]) -> MixedJointDistribution:
        found: MixedJointDistribution = self._build_again()
        memo[id(self)] = found
        for mine, its in zip(self.trainable_variables, found.trainable_variables, strict=True):
            its.assign(mine)
            memo[id(mine)] = its
        return found
