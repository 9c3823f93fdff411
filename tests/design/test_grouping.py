from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmeformula.design.grouping import group_rows, match_rows
from lmeformula.design.values import Categories, Numbers, categories

LEVELS = tuple("abcdefgh")
rows_of_codes = st.integers(1, 3).flatmap(
    lambda m: st.lists(st.tuples(*[st.integers(0, 7)] * m), min_size=1, max_size=40)
)


def factors_of(rows: list[tuple[int, ...]]) -> list[Categories]:
    return [Categories(np.array(codes), LEVELS) for codes in zip(*rows, strict=True)]


@given(rows=rows_of_codes)
def test_levels_are_the_observed_combinations_first_column_major(
    rows: list[tuple[int, ...]],
) -> None:
    grouping, codes = group_rows(factors_of(rows))
    observed = sorted(set(rows))
    assert grouping.levels == tuple(":".join(LEVELS[i] for i in row) for row in observed)
    assert [observed[code] for code in codes.tolist()] == rows


@given(rows=rows_of_codes, extra=st.data())
def test_new_rows_find_their_level_or_none(
    rows: list[tuple[int, ...]], extra: st.DataObject
) -> None:
    grouping, _ = group_rows(factors_of(rows))
    cell = st.tuples(*[st.integers(0, 7)] * len(rows[0]))
    new = extra.draw(st.lists(cell, min_size=1, max_size=20))
    codes, unseen = match_rows(grouping, factors_of(new))
    observed = sorted(set(rows))
    absent = list(dict.fromkeys(row for row in new if row not in observed))
    assert codes.tolist() == [
        observed.index(row) if row in observed else -1 - absent.index(row) for row in new
    ]
    assert unseen == tuple(":".join(LEVELS[i] for i in row) for row in absent)


def test_many_columns_of_many_levels_do_not_overflow() -> None:
    num = 3_000
    levels = tuple(map(str, range(num)))
    factors = [Categories(np.roll(np.arange(num), shift), levels) for shift in range(8)]
    grouping, codes = group_rows(factors)  # 3000**8 possible combinations
    assert len(grouping.levels) == num
    assert codes.tolist() == list(range(num))
    again, unseen = match_rows(grouping, factors)
    assert again.tolist() == codes.tolist()
    assert unseen == ()


def test_places_of_levels_are_made_once_and_not_pickled() -> None:
    grouping, _ = group_rows([categories(Numbers(np.array([3, 1, 2])))])
    assert grouping.places == ({"1": 0, "2": 1, "3": 2},)
    assert grouping.places is grouping.places
    again = pickle.loads(pickle.dumps(grouping))
    assert "places" not in vars(again)
    assert again.places == grouping.places
