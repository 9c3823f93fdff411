"""What a report of a fault needs is printed, and costs no import."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmeformula as lf
from lmeformula.versions import LIBRARIES, versions

ROOT = Path(__file__).parents[1]


def test_all_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    lf.show_versions()
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["numpy"] == importlib.metadata.version("numpy")
    assert set(shown) == {"python", "system", "processors", "blas", *LIBRARIES}


def test_one_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert versions()["duckdb"] == "not installed"


def test_tensorflow_is_not_imported_for_it() -> None:
    code = "import lmeformula as lf, sys; lf.show_versions(); sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)


def test_what_is_needed_is_listed() -> None:
    # Libraries that the package needs are among those that it shows.
    needed = importlib.metadata.requires("lmeformula") or []
    names = {re.split(r"[^\w-]", one)[0] for one in needed if "extra ==" not in one}
    others = {"setuptools", "platformdirs", "requests", "rich", "threadpoolctl", "urllib3"}
    assert names - others <= set(LIBRARIES)


def test_the_citation_is_of_this_version() -> None:
    if not (ROOT / "CITATION.cff").exists():
        pytest.skip("an installed package has none")
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {lf.__version__}\n" in text
