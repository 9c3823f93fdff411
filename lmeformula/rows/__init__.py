from lmeformula.rows.gather import Gathered, gather
from lmeformula.rows.kinds import source_of
from lmeformula.rows.source import Source

__all__ = ["Gathered", "Source", "gather", "source_of"]
