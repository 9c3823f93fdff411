"""Write a fit's predictions as a TensorFlow SavedModel."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from lmeformula.arguments import kinds
from lmeformula.errors import ModelError
from lmeformula.files import located
from lmeformula.fit import FittedModel, not_of_draws
from lmeformula.prediction.predictor import link_columns
from lmeformula.serving.inputs import LEVEL, NUMBER, TRUTH, Input
from lmeformula.startup import import_tensorflow


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
      path: the folder of the SavedModel.
      inputs: of the signature "serving_default", which takes raw columns; () if there is none.
      outputs: of both signatures: "link", "prediction" unless the mean has no TensorFlow form, and
        "probabilities" of categories.
      reason: why there is no signature of raw columns, or "".
      predictors: what the columns of "link" are called, of several linear predictors; () where there is one.
    """

    path: Path
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    reason: str
    predictors: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"SavedModel in {self.path}"]
        if self.inputs:
            shown = ", ".join(f"{one.name} ({_TYPES[one.kind]})" for one in self.inputs)
            lines.append(f"  serving_default  {shown}")
        else:
            lines.append(f"  no signature of raw columns: {self.reason}")
        lines.append("  design_rows      the arrays of fit.model.design.rebuild(rows)")
        lines.append(f"  outputs          {', '.join(self.outputs)}")
        if self.predictors:
            lines.append(f"  columns of link  {', '.join(self.predictors)}")
        return "\n".join(lines)


_TYPES = {NUMBER: "float64", LEVEL: "string", TRUTH: "bool"}


@kinds.takes(path=kinds.path)
@not_of_draws("exported predictions")
def export(fit: FittedModel, path: str | PathLike[str]) -> Exported:
    """Write a SavedModel that predicts new rows in any program with TensorFlow, without this package.

    The signature "serving_default" takes a tensor (n,) for each raw column that the prediction reads:
    float64 for numbers, bool for truth values, strings for the levels of factors and of grouping factors
    (of numbers their shortest spelling, "3" or "0.5"). A grouping factor's level that the fit has not seen
    is predicted at the population, an effect of zero; of a factor in the fixed effects it gives NaN, as a
    missing number does. "design_rows" takes the arrays of `Design.rebuild`: X (n, p), offset (n,), and
    values_1 (n, k) and index_1 (n,) int64 of the first random-effects term, and so on; an index below zero
    is an unseen level.

    Both return "link", the linear predictor; "prediction", the expected response at the conditional modes, as
    `fit.predict` has it, but of categories without an order; and "probabilities" (n, categories) of categories.
    With K linear predictors "link" is (n, K), its columns as those of `fit.predict(kind="link")`, and
    "design_rows" takes an offset for each: offset, offset_2, ..., offset_K.

    Raw columns are served for arithmetic, the usual functions of one number, scale(), center(), poly(),
    bs(), ns(), and factors that are columns or factor(column). Other calls, and functions of your own,
    leave the second signature alone, and the result says so.

    Args:
      fit: a fitted model, or a loaded one.
      path: of the folder to write, which must not exist: it is there whole at the end, or not at all.
    Returns:
      What was written.
    Raises:
      ModelError: if the fit has no recipe to rebuild rows by.
      FileExistsError: if there is something of this name.
      OSError: if it cannot be written.
    Example:
      >>> import tempfile
      >>> import lmeformula as lf
      >>> fit = lf.fit("Reaction ~ Days + (Days | Subject)", lf.datasets.load("sleepstudy"))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     written = fit.export(f"{folder}/sleep")
      >>> [(one.name, one.kind) for one in written.inputs]
      [('Days', 'number'), ('Subject', 'level')]
    """
    target = located(path)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists; choose another path, or remove it first")
    if fit.model.design.recipe is None:
        raise ModelError(
            "a design that was put together by hand cannot be rebuilt for new rows",
            hint="Make it with lf.design(formula, data).",
        )
    import_tensorflow()
    import tensorflow as tf

    from lmeformula.serving.model import serving_module

    module = serving_module(fit)
    signatures = {"design_rows": module.design_rows}
    if module.inputs:
        signatures["serving_default"] = module.raw
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        tf.saved_model.save(module, str(beside), signatures=signatures)
        # Of what `mkdtemp` made only its owner could read.
        beside.chmod(0o755)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Exported(target, module.inputs, module.outputs, module.reason, link_columns(fit))
