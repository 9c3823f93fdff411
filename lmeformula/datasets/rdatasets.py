"""Any set of the public Rdatasets collection -> data frame, through a verified cache on disk."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lmeformula.arguments import kinds
from lmeformula.datasets.catalogue import Dataset, describe_twin, shipped_names
from lmeformula.datasets.download import Body, Limits, download, store
from lmeformula.datasets.shipped import content_digest, typed
from lmeformula.errors import DatasetError
from lmeformula.files import located

if TYPE_CHECKING:
    from pandas import DataFrame

RDATASETS = "https://vincentarelbundock.github.io/Rdatasets"

MOST_ATTEMPTS = 1000

# Both parts of a set's name become parts of an address and of a path: nothing else may be in them.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@kinds.takes(
    package=kinds.text,
    item=kinds.text,
    sha256=kinds.optional(kinds.text),
    cache_dir=kinds.optional(kinds.path),
    timeout=kinds.positive,
    attempts=kinds.whole(1, MOST_ATTEMPTS),
    max_bytes=kinds.whole(1),
    base_url=kinds.text,
)
def fetch(
    package: str,
    item: str,
    *,
    sha256: str | None = None,
    cache_dir: str | Path | None = None,
    timeout: float = 60.0,
    attempts: int = 4,
    max_bytes: int = 100 * 2**20,
    base_url: str = RDATASETS,
) -> DataFrame:
    """Download a data set of the public Rdatasets collection, or take it from the cache.

    A set that is also shipped must have the shipped values, and gets the same types. Of any other,
    text stays text and numbers stay numbers: a CSV file does not say which numbers are labels.

    Args:
      package: the R package, such as "lme4".
      item: the data set's name there, such as "InstEval".
      sha256: hexadecimal digest that the file must have; by default none is asked. "any" leaves out
        the comparison with the shipped values, too.
      cache_dir: folder to keep files in; default: the user's cache folder for lmeformula. A file
        that is there and still has its checksum is used without asking the network.
      timeout: seconds for the whole download, retries included.
      attempts: tries in all, for failures that may pass.
      max_bytes: largest file accepted.
      base_url: address of the collection, where `/csv/PACKAGE/ITEM.csv` goes on.
    Returns:
      A fresh data frame, without the column of row names.
    Raises:
      DatasetError: the set cannot be had, or what came is not it: another checksum, cut off, not CSV.
    References:
      Arel-Bundock, V. Rdatasets: a collection of datasets originally distributed in R packages.
    """
    for part in (package, item):
        if not _NAME.fullmatch(part):
            raise DatasetError(
                f"{part!r} cannot be the name of an R package or data set",
                hint='Names look like fetch("lme4", "InstEval").',
            )
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise DatasetError(f"base_url must start with http:// or https://, not {base_url!r}")
    twin = None if sha256 == "any" else describe_twin(package, item)
    expected = None if sha256 == "any" else sha256
    folder = _cache_folder(cache_dir) / package / item
    content = _cached(folder, expected)
    if content is not None:
        return _frame(_csv_text(Body(content, ""), str(folder)), str(folder), twin)
    url = f"{base_url.rstrip('/')}/csv/{package}/{item}.csv"
    limits = Limits(timeout=float(timeout), attempts=attempts, max_bytes=max_bytes)
    try:
        body = download(url, sha256=expected, limits=limits)
        frame = _frame(_csv_text(body, url), url, twin)
    except DatasetError as error:
        raise DatasetError(error.problem, hint=_cures(error.hint, package, item)) from error
    store(body.content, folder / f"{hashlib.sha256(body.content).hexdigest()}.csv")
    return frame


def _cache_folder(cache_dir: str | Path | None) -> Path:
    if cache_dir is not None:
        return located(cache_dir)
    import platformdirs

    return platformdirs.user_cache_path("lmeformula") / "rdatasets"


def _cached(folder: Path, sha256: str | None) -> bytes | None:
    """Return the newest file in `folder` that has the digest in its name, and the one asked for."""
    wanted = [path for path in folder.glob("*.csv") if sha256 in (None, path.stem)]
    for path in sorted(wanted, key=lambda path: path.stat().st_mtime, reverse=True):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.stem:
            return content
    return None


def _csv_text(body: Body, origin: str) -> str:
    """Decode a body of the collection; a page, an archive or another table is an error."""
    if body.media_type in ("text/html", "application/xhtml+xml", "application/json"):
        raise DatasetError(f"{origin} is not a CSV file: the server sent {body.media_type}")
    try:
        text = body.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{origin} is not a CSV file: {error}") from error
    # Every file of the collection starts with R's row names, under an empty or this very name.
    if not re.match(r'("rownames"|rownames|""|),', text) or "\0" in text:
        raise DatasetError(f"{origin} is not a CSV file of the collection: starts {text[:40]!r}")
    return text


def _frame(text: str, origin: str, twin: Dataset | None) -> DataFrame:
    import pandas as pd

    try:
        cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        raise DatasetError(f"{origin} is not a CSV file: {error}") from error
    cells = cells.drop(columns=cells.columns[0])
    if twin is None:
        # R writes a missing value as NA; numbers are recognized column by column.
        columns = io.StringIO(cells.to_csv(index=False))
        return pd.read_csv(columns, keep_default_na=False, na_values=["NA", ""])
    if content_digest(cells) != twin.content:
        raise DatasetError(
            f"{origin} has the wrong checksum: its values are not those shipped with lmeformula",
            hint='If the collection has a new version that you trust, pass sha256="any".',
        )
    return typed(cells, twin)


def _cures(hint: str, package: str, item: str) -> str:
    twin = describe_twin(package, item)
    instead = (
        f'This data set is shipped with the package: lmeformula.datasets.load("{twin.name}").'
        if twin is not None
        else shipped_names()
    )
    return f"{hint}\n{instead}" if hint else instead
