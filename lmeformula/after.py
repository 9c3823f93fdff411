"""What follows a fit by name: comparing it, marginal means, handing it on; each computed elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from pathlib import Path

    import pandas as pd

    from lmeformula.fit import Fit
    from lmeformula.result.cross_validate import CrossValidation
    from lmeformula.result.emmeans import MarginalMeans
    from lmeformula.result.r2 import R2
    from lmeformula.result.references import References
    from lmeformula.serving.export import Exported


class AfterFit:
    """Methods of `Fit` that import what they need when they are called; see there."""

    __slots__ = ()

    def cross_validate(
        self, folds: Any = None, *, by: str | None = None, **options: Any
    ) -> CrossValidation:
        """Score predictions of rows held out; see `lmeformula.result.cross_validate.cross_validate`."""
        from lmeformula.result.cross_validate import cross_validate

        return cross_validate(_fit(self), folds, by=by, **options)

    def augment(self, data: pd.DataFrame | None = None) -> pd.DataFrame:
        """The rows with predictions and residuals; see `lmeformula.result.augment.augment`."""
        from lmeformula.result.augment import augment

        return augment(_fit(self), data)

    def to_arviz(self, **options: Any) -> Any:
        """Draws of the effects, log-likelihoods and rows for ArviZ; see `lmeformula.result.arviz.to_arviz`."""
        from lmeformula.result.arviz import to_arviz

        return to_arviz(_fit(self), **options)

    def save(self, path: str | PathLike[str], *, data: bool = False) -> Path:
        """Save to a file that `lmeformula.load` reads, with `data` the rows too; see `lmeformula.store`."""
        from lmeformula.store.save import save

        return save(_fit(self), path, data=data)

    def export(self, path: str | PathLike[str]) -> Exported:
        """Write predictions as a TensorFlow SavedModel; see `lmeformula.serving.export.export`."""
        from lmeformula.serving.export import export

        return export(_fit(self), path)

    @property
    def joint(self) -> Any:
        """The joint distribution of random effects and response, its variables at the estimates."""
        return _fit(self).model.joint

    @property
    def joint_effects(self) -> dict[str, Any]:
        """Posterior means of the random effects, by their parts of the joint distribution."""
        from lmeformula.result.joint import joint_effects

        return joint_effects(_fit(self))

    def joint_for(self, newdata: Any, **options: Any) -> Any:
        """The joint distribution of new rows at the estimates; see `lmeformula.result.joint.joint_for`."""
        from lmeformula.result.joint import joint_for

        return joint_for(_fit(self), newdata, **options)

    def emmeans(
        self, specs: Sequence[str] | str, by: Sequence[str] | str | None = None, **options: Any
    ) -> MarginalMeans:
        """Marginal means or slopes, with contrasts; see `lmeformula.result.emmeans.emmeans`."""
        from lmeformula.result.emmeans import emmeans

        return emmeans(_fit(self), specs, by, **options)

    def joint_tests(self, terms: Sequence[str] | None = None, *, ddf: str = "auto") -> pd.DataFrame:
        """F tests of whole terms, whatever the contrasts: term, df1, df2, statistic, p_value."""
        from lmeformula.result.joint_tests import joint_tests

        return joint_tests(_fit(self), terms, ddf=ddf)

    def references(self) -> References:
        """The papers of the model and of the methods that this fit used."""
        from lmeformula.result.references import references

        return references(_fit(self))

    def drop1(self, test: str = "lrt", **options: Any) -> pd.DataFrame:
        """Leave out each term of the fixed part, by "lrt" or "F"; see `lmeformula.result.drop1.drop1`."""
        from lmeformula.result.drop1 import drop1

        return drop1(_fit(self), test, **options)

    def update(self, formula: str, data: Any, **options: Any) -> Fit:
        """Fit a changed formula, "~ . - x", to data; see `lmeformula.result.update.update`."""
        from lmeformula.result.update import update

        return update(_fit(self), formula, data, **options)

    def to_marginaleffects(self, data: Any, *, kind: str = "response") -> Any:
        """The model that the `marginaleffects` package takes; see `lmeformula.result.marginal_effects`."""
        from lmeformula.result.marginal_effects import marginaleffects_model

        return marginaleffects_model(_fit(self), data, kind=kind)

    def icc(self, **options: Any) -> pd.DataFrame:
        """Intraclass correlations; see `lmeformula.result.r2.icc`."""
        from lmeformula.result.r2 import icc

        return icc(_fit(self), **options)

    def r2(self, **options: Any) -> R2:
        """Marginal and conditional R2; see `lmeformula.result.r2.r2`."""
        from lmeformula.result.r2 import r2

        return r2(_fit(self), **options)


def _fit(methods: AfterFit) -> Fit:
    """The fit whose methods they are."""
    return cast("Fit", methods)
