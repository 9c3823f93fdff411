"""A design in a saved fit: its arrays, or, of several linear predictors, the designs that it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from lmeformula.design.design import Design, LinearPredictor
from lmeformula.design.side_by_side import joined
from lmeformula.errors import FormulaDataError, FormulaSyntaxError
from lmeformula.formula.ir import FIRST
from lmeformula.formula.several_formulas import join_formulas
from lmeformula.store.archive import Json
from lmeformula.store.codec import TEXT, Codec, Coded, Reader, Writer
from lmeformula.store.containers import read_fields
from lmeformula.store.fields import design_codec
from lmeformula.store.formulas import FORMULA
from lmeformula.store.recipe import Functions


@dataclass(frozen=True)
class DesignCodec:
    """A design by its formula, or by the designs of its predictors.

    Attributes:
      functions: the caller's functions that the formulas call, given again for reading.
    """

    functions: Functions

    def write(self, value: Design, out: Writer) -> Json:
        """Its fields, or those of each part."""
        if not value.side_by_side:
            return _write_one(value, out)
        found: list[Json] = []
        # The predictors of a response's categories have one design, kept once.
        places: dict[int, int] = {}
        for number, part in enumerate(value.side_by_side):
            record: dict[str, Json] = {"name": part.name, "pattern": part.pattern}
            if id(part.design) in places:
                record["same"] = places[id(part.design)]
            else:
                places[id(part.design)] = number
                design = value.first if number == 0 else part.design
                with out.at(number), out.at("design"):
                    record["design"] = _write_one(design, out)
            found.append(record)
        return {"parts": found}

    def read(self, found: Json, source: Reader) -> Design:
        """Put together again."""
        if not isinstance(found, dict) or set(found) != {"parts"}:
            return self._read_one(found, source)
        parts: list[LinearPredictor] = []
        records = found["parts"]
        if not isinstance(records, list) or len(records) < 2:
            source.refuse("its parts are not a list of several")
        for number, record in enumerate(records):
            with source.at(number):
                parts.append(self._read_part(record, tuple(parts), source))
        return self._joined(tuple(parts), source)

    def _read_part(
        self, found: Json, before: tuple[LinearPredictor, ...], source: Reader
    ) -> LinearPredictor:
        is_same = isinstance(found, dict) and "same" in found
        fields: dict[str, Codec] = {
            "name": TEXT,
            "pattern": TEXT,
            "same" if is_same else "design": _earlier(before)
            if is_same
            else Coded(_write_one, self._read_one),
        }
        name, pattern, design = read_fields(fields, found, source).values()
        if pattern.count("{}") != 1:
            source.refuse(f"the pattern of names {pattern!r} has no one place for a name")
        return LinearPredictor(name, pattern, design)

    def _joined(self, parts: tuple[LinearPredictor, ...], source: Reader) -> Design:
        first = parts[0].design
        if first.response is None:
            source.refuse("its first part has no response")
        formula = first.formula
        if len({id(part.design) for part in parts}) > 1:
            named = [(FIRST, formula), *((part.name, part.design.formula) for part in parts[1:])]
            try:
                formula = join_formulas(named)
            except FormulaSyntaxError as error:
                source.refuse(f"its parts are not those of one formula: {error.problem}")
        try:
            design = joined(formula, parts)
        except FormulaDataError as error:
            source.refuse(f"its parts do not go together: {error.problem}")
        source.sizes |= {"p": len(design.names), "terms": len(design.terms)}
        return design

    def _read_one(self, found: Json, source: Reader) -> Design:
        formula = None
        if isinstance(found, dict):
            with source.at("formula"):
                formula = FORMULA.read(found.get("formula"), source)
        if formula is None or formula.further:
            source.refuse("it has no formula of one predictor")
        for letter in ("p", "terms"):
            source.sizes.pop(letter, None)
        design: Design = design_codec(formula, self.functions).read(found, source)
        return design


def _write_one(value: Design, out: Writer) -> Json:
    """The fields of the design of one predictor."""
    return design_codec(value.formula, {}).write(value, out)


def _earlier(before: tuple[LinearPredictor, ...]) -> Codec:
    """The design of an earlier part, by its number."""

    def read(found: Json, source: Reader) -> Design:
        if not isinstance(found, int) or not 0 <= found < len(before):
            source.refuse("there is no such part before it")
        return before[found].design

    return Coded(lambda value, out: value, read)
