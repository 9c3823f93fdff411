"""What runs here: versions of Python, of this package and of its libraries, for reports of faults."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

import numpy  # noqa: F401 - whose linear algebra is looked for
from threadpoolctl import threadpool_info

# By the names that package indexes have, those that are needed first.
LIBRARIES = (
    "numpy",
    "scipy",
    "pandas",
    "narwhals",
    "formulaic",
    "lark",
    "tensorflow",
    "tensorflow-probability",
    "tf-keras",
    "matplotlib",
    "arviz",
    "scikit-learn",
    "polars",
    "pyarrow",
    "duckdb",
    "dask",
    "distributed",
)


def versions() -> dict[str, str]:
    """What runs here, by name; TensorFlow is not imported for it.

    Example:
      >>> import lmeformula as lf
      >>> versions()["lmeformula"] == lf.__version__
      True
    """
    found = {
        "python": sys.version.partition(" ")[0],
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "processors": str(os.cpu_count()),
        # What is imported: the metadata of an editable installation may be older.
        "lmeformula": sys.modules["lmeformula"].__version__,
    }
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    blas = [
        f"{one['internal_api']} {one['version']}, {one['num_threads']} threads"
        for one in threadpool_info()
        if one["user_api"] == "blas"
    ]
    found["blas"] = "; ".join(dict.fromkeys(blas)) or "unknown"
    return found


def show_versions() -> None:
    """Print what runs here: the versions that a report of a fault should have.

    Example:
      >>> import contextlib, io
      >>> with contextlib.redirect_stdout(io.StringIO()) as out:
      ...     show_versions()
      >>> out.getvalue().partition(" ")[0]
      'python'
    """
    for name, version in versions().items():
        print(f"{name:<24}{version}")  # noqa: T201 - printing is what it is for
