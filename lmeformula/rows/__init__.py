from lmeformula.rows.blocks import in_blocks, table_of
from lmeformula.rows.gather import Gathered, RowBytes, gather
from lmeformula.rows.kinds import like, source_of
from lmeformula.rows.merged import Merged, merged
from lmeformula.rows.source import Source
from lmeformula.rows.written import parquet_file, parquet_target

__all__ = [
    "Gathered",
    "Merged",
    "RowBytes",
    "Source",
    "gather",
    "in_blocks",
    "like",
    "merged",
    "parquet_file",
    "parquet_target",
    "source_of",
    "table_of",
]
