"""Reference data: sets shipped in the wheel, and download of others from the Rdatasets collection."""

from lmeformula.datasets.catalogue import Catalogue, Column, Dataset, catalogue, describe, names
from lmeformula.datasets.rdatasets import fetch
from lmeformula.datasets.shipped import load

__all__ = ["Catalogue", "Column", "Dataset", "catalogue", "describe", "fetch", "load", "names"]
