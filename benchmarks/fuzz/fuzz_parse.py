"""Coverage-guided fuzz target: any text ends in a Formula that survives its round trip, or in our error.

    pip install atheris
    export PYTHONPATH=.
    python benchmarks/fuzz/fuzz_parse.py --seed CORPUS_FOLDER
    python benchmarks/fuzz/fuzz_parse.py CORPUS_FOLDER -dict=benchmarks/fuzz/formula.dict -max_total_time=1800

The seeds are the formulas of the golden cases.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lmeformula.formula", "lark"]):
    from lmeformula.errors import FormulaSyntaxError
    from lmeformula.formula import Formula, expand_dot, parse

sys.path.insert(0, str(Path(__file__).parents[2]))
SLOWEST = 5.0  # seconds, for a text of at most 4096 characters
LONGEST = 100_000  # characters of canonical text up to which everything is tried


def check(text: str) -> None:
    """Raise AssertionError, or anything that is not ours, for a text that shows a fault."""
    started = time.process_time()
    found = read(text)
    assert time.process_time() - started < SLOWEST, text
    if isinstance(found, Formula):
        check_formula(found)
    else:
        assert found.code
        assert found.span is not None
        assert 0 <= found.span[0] <= found.span[1] <= len(found.formula)
        assert str(found)


def read(text: str) -> Formula | FormulaSyntaxError:
    """Parse a text: the formula, or our error; anything else is raised."""
    try:
        return parse(text)
    except FormulaSyntaxError as error:
        return error


def check_formula(formula: Formula) -> None:
    """Raise AssertionError where a formula does not survive what can be done with it."""
    again = parse(str(formula))
    assert again == formula, str(formula)
    if len(str(formula)) > LONGEST:
        return
    assert hash(again) == hash(formula)
    assert str(again) == str(formula)
    assert Formula.from_dict(json.loads(json.dumps(formula.to_dict()))) == formula
    assert formula.explain()
    assert formula._repr_latex_()
    expanded = expand_dot(formula, ["y", "x", "a b"])
    assert parse(str(expanded)) == expanded


def test_one_input(data: bytes) -> None:
    """Read the fuzzer's bytes as text."""
    check(data.decode("utf-8", errors="replace")[:4096])


def write_seeds(folder: Path) -> None:
    """Write the formulas of the golden cases, one a file."""
    from tests.formula.cases import GOLDEN, read_cases

    folder.mkdir(parents=True, exist_ok=True)
    for path in GOLDEN.glob("*.txt"):
        for case in read_cases(path)[1]:
            data = case.formula.encode()
            (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--seed"]:
        write_seeds(Path(sys.argv[2]))
    else:
        atheris.Setup(sys.argv, test_one_input)
        atheris.Fuzz()
