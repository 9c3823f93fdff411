"""Methods made of functions: their signature and words, and nothing loaded before it is asked for."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from lmeformula.arguments.methods import Method, Modules


def repeated(word: str, n: int = 2) -> str:
    """Say a word several times."""
    return word * n


class Word(str):
    times = Method(lambda: repeated)


def test_a_method_shows_the_signature_and_the_docstring_of_its_function() -> None:
    assert str(inspect.signature(Word("ha").times)) == "(n: 'int' = 2) -> 'str'"
    assert inspect.getdoc(Word("ha").times) == "Say a word several times."
    assert inspect.signature(Word.times) == inspect.signature(repeated)


def test_a_method_is_called_with_its_object() -> None:
    assert Word("ha").times(n=3) == Word.times(Word("ha"), 3) == "hahaha"


def test_no_module_of_that_name() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"lmeformula\.inference\.nothing"):
        _ = Modules("lmeformula").inference.nothing


def test_a_fit_loads_a_statistic_when_it_is_asked_for() -> None:
    script = (
        "import sys; from lmeformula.face import Fit; name = 'lmeformula.inference.emmeans';"
        "dir(Fit); assert name not in sys.modules; Fit.emmeans; assert name in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
