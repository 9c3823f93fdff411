"""Fit <-> file: saving without pickle, and loading with everything checked."""

from lmeformula.store.save import load as load
from lmeformula.store.save import save as save
