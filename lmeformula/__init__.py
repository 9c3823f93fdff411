"""Maximum-likelihood multilevel models from one line of lme4 syntax.

The public names, in pipeline order: text -> `parse` -> `design` -> `compile` -> `estimate`; `fit` composes
them. Names load on first use (PEP 562), so that parsing a formula never waits for TensorFlow.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from lmeformula.arguments.elsewhere import IN_R, OF_THE_PACKAGE, answer
from lmeformula.em import recognise
from lmeformula.errors import ArgumentError as ArgumentError
from lmeformula.errors import CheckpointError as CheckpointError
from lmeformula.errors import ClusterError as ClusterError
from lmeformula.errors import ColumnNotFoundError as ColumnNotFoundError
from lmeformula.errors import ConvergenceError as ConvergenceError
from lmeformula.errors import DatasetError as DatasetError
from lmeformula.errors import FolderNotFoundError as FolderNotFoundError
from lmeformula.errors import FormulaDataError as FormulaDataError
from lmeformula.errors import FormulaErrors as FormulaErrors
from lmeformula.errors import FormulaSyntaxError as FormulaSyntaxError
from lmeformula.errors import FunctionNotFoundError as FunctionNotFoundError
from lmeformula.errors import LmeFormulaError as LmeFormulaError
from lmeformula.errors import LmeFormulaWarning as LmeFormulaWarning
from lmeformula.errors import MissingLibraryError as MissingLibraryError
from lmeformula.errors import ModelError as ModelError
from lmeformula.errors import NamesNotFoundError as NamesNotFoundError
from lmeformula.errors import SavedFitError as SavedFitError
from lmeformula.startup import watch_imports

if TYPE_CHECKING:
    from lmeformula import datasets as datasets
    from lmeformula import em as em
    from lmeformula import priors as priors
    from lmeformula import sklearn as sklearn
    from lmeformula.api import estimate as estimate
    from lmeformula.api import fit as fit
    from lmeformula.api import load as load
    from lmeformula.checking.sbc import sbc as sbc
    from lmeformula.design import Design as Design
    from lmeformula.design import design as design
    from lmeformula.design.pedigree import pedigree as pedigree
    from lmeformula.design.relation import precision as precision
    from lmeformula.em.outcome import Outcome as Outcome
    from lmeformula.face import Fit as Fit
    from lmeformula.family.custom import Family as Family
    from lmeformula.formula import Formula as Formula
    from lmeformula.formula import parse as parse
    from lmeformula.inference.anova import anova as anova
    from lmeformula.inference.compare import compare as compare
    from lmeformula.inference.model_table import table as table
    from lmeformula.inference.power import power as power
    from lmeformula.model import Model as Model
    from lmeformula.model import compile as compile
    from lmeformula.versions import show_versions as show_versions

__version__ = "1.0.0rc1"

# Whichever line imports TensorFlow first, it is told the same.
watch_imports()

_HOME = {
    "parse": "formula",
    "Formula": "formula",
    "design": "design",
    "Design": "design",
    "pedigree": "design.pedigree",
    "precision": "design.relation",
    "compile": "model",
    "Model": "model",
    "estimate": "api",
    "fit": "api",
    "load": "api",
    "Fit": "face",
    "Family": "family.custom",
    "anova": "inference.anova",
    "compare": "inference.compare",
    "power": "inference.power",
    "sbc": "checking.sbc",
    "table": "inference.model_table",
    "Outcome": "em.outcome",
    "show_versions": "versions",
}
_MODULES = ("datasets", "em", "priors", "sklearn")

# Written out, for type checkers and completion.
__all__ = [
    "ArgumentError",
    "CheckpointError",
    "ClusterError",
    "ColumnNotFoundError",
    "ConvergenceError",
    "DatasetError",
    "Design",
    "Family",
    "Fit",
    "FolderNotFoundError",
    "Formula",
    "FormulaDataError",
    "FormulaErrors",
    "FormulaSyntaxError",
    "FunctionNotFoundError",
    "LmeFormulaError",
    "LmeFormulaWarning",
    "MissingLibraryError",
    "Model",
    "ModelError",
    "NamesNotFoundError",
    "Outcome",
    "SavedFitError",
    "anova",
    "compare",
    "compile",
    "datasets",
    "design",
    "em",
    "estimate",
    "fit",
    "load",
    "parse",
    "pedigree",
    "power",
    "precision",
    "priors",
    "sbc",
    "show_versions",
    "sklearn",
    "table",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in _HOME and name not in IN_R:
        # With neither the name nor the module: Python would suggest once more what may be meant.
        raise AttributeError(answer(name, f"module {__name__!r}", __all__, OF_THE_PACKAGE))
    home = _HOME.get(name, "as_in_r")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(types.ModuleType):
    """The package, whose `design` and `fit` stay functions.

    Importing the submodules of the same names would bind them here over the functions; they remain
    importable as `from lmeformula.design import ...`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name in _HOME and isinstance(value, types.ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _recognise(*given: Any) -> Any:
    """What the package knows of a joint distribution by hand; see `lmeformula.em.recognise`."""
    return importlib.import_module(f"{__name__}.handwritten.delegate").solver_of(*given)


recognise.RECOGNISERS.append(_recognise)
