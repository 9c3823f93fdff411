"""Response families: a table of small records, each with its density in terms of the linear predictor.

With `pickled` comes how they go into a pickle, so that there is no family that a pickle would not know.
"""

from lmeformula.family.built_in import FAMILIES, family
from lmeformula.family.own import NO_OWN, Own
from lmeformula.family.pickled import is_from_table
from lmeformula.family.record import ClosedForm, Depths, Family, Scores, Slopes, log_density

__all__ = [
    "FAMILIES",
    "NO_OWN",
    "ClosedForm",
    "Depths",
    "Family",
    "Own",
    "Scores",
    "Slopes",
    "family",
    "is_from_table",
    "log_density",
]
