"""The conformance cases end as their titles say: accepted, or refused with the code of the reference."""

from __future__ import annotations

import pytest

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula import parse
from tests.formula.cases import GOLDEN, Case, read_cases

CASES = [case for path in sorted(GOLDEN.glob("conformance_*.txt")) for case in read_cases(path)[1]]

# Where we know without data what the reference leaves to the data.
OTHER_CODES = {"dot-15": "E_DOT_WITH_TRANSFORM"}
NEEDS_DATA = {"W_DOT", "W_DBLBAR_FACTOR", "W_RE_RANK", "W_NUMERIC_GROUP", "E_UNSUPPORTED_EXTENSION"}
# dot-04: a power of "." is no power of a single variable.
NOT_WARNED = {("dot-04", "W_POWER_SINGLE")}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ends_as_the_title_says(case: Case) -> None:
    identifier, policy, *rest = case.title.split()
    is_at_data = rest[:3] == ["at", "the", "data"]
    codes = rest[3:] if is_at_data else rest
    if identifier in OTHER_CODES:
        codes, is_at_data = [OTHER_CODES[identifier]], False
    if policy.startswith("reject") and not is_at_data:
        with pytest.raises(FormulaSyntaxError) as caught:
            parse(case.formula)
        assert [caught.value.code] == codes
        return
    warned = {diagnostic.code for diagnostic in parse(case.formula).diagnostics}
    if not policy.startswith("reject"):
        expected = {code for code in codes if (identifier, code) not in NOT_WARNED}
        assert expected - NEEDS_DATA <= warned


def test_the_suite_is_whole() -> None:
    assert len(CASES) == 607
