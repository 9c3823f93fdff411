"""A fit and the file it is saved in: what is written, and how what is read becomes a fit again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from lmeformula.arguments import kinds
from lmeformula.covariance.table import KNOWN
from lmeformula.design.again import sums_of
from lmeformula.design.design import Design, TermBlock
from lmeformula.em.outcome import Outcome
from lmeformula.errors import ModelError, SavedFitError
from lmeformula.family import NO_OWN, Family, Own, is_from_table
from lmeformula.family import family as find_family
from lmeformula.family.predicted import with_predictors
from lmeformula.family.thresholds import Patterned
from lmeformula.files import located
from lmeformula.fit import FittedModel
from lmeformula.formula.ir import Covariance
from lmeformula.formula.kinds import KINDS
from lmeformula.formula.smooths import effect_terms
from lmeformula.model.compile import DTYPES, Model
from lmeformula.model.params import param_space
from lmeformula.model.priors import priors_of
from lmeformula.store.archive import (
    HEADER,
    MAX_BYTES,
    Archive,
    Json,
    open_archive,
    write_archive,
)
from lmeformula.store.codec import FLAG, TEXT, Codec, Reader, Writer, choice, maybe, real
from lmeformula.store.containers import Array, Each, read_fields
from lmeformula.store.designs import DesignCodec
from lmeformula.store.fields import FIT, LATER, OWN, Kept
from lmeformula.store.recipe import Functions, check_recipe

FORMAT = "lmeformula fit"
# Which tell whether rows that are given again are those of the fit; earlier versions did not keep them.
SUMS = maybe(Array(("sums",)))
VERSION = 1


@kinds.takes(path=kinds.path, data=kinds.flag)
def save(fit: FittedModel, path: str | PathLike[str], *, data: bool = False) -> Path:
    """Save a fit: a zip file of one JSON text and NumPy arrays; nothing is pickled.

    Args:
      fit: a fitted model.
      path: of the file, which is replaced whole, or not at all if something goes wrong.
      data: keep the rows of the data too (the model's arrays, not the data frame). Without them the file is of
        the size of the effects, and a loaded fit has everything that is known of the parameters and the random
        effects, and predicts new rows; `lf.load(path, data=...)` takes the rows again.
    Returns:
      path: the file.
    Raises:
      ModelError: if the rows are asked for, and the fit was itself loaded without them.
      OSError: if the file cannot be written.
    Example:
      >>> import tempfile
      >>> import lmeformula as lf
      >>> fit = lf.fit("Yield ~ 1 + (1|Batch)", lf.datasets.load("dyestuff"))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     again = lf.load(fit.save(f"{folder}/dyestuff.fit"))
      >>> again.loglik == fit.loglik
      True
    """
    model = fit.model
    out = Writer(with_rows=data)
    header: dict[str, Json] = {"format": FORMAT, "version": VERSION}
    with out.at("model"):
        header["model"] = {
            "family": _put(out, "family", _FamilyCodec(), model.family),
            "dtype": model.dtype,
            "fixed_sigma": model.sigma,
            "own": _put(out, "own", OWN, NO_OWN if model.family.is_normal else model.space.own),
            "design": _put(out, "design", DesignCodec({}), model.design),
            "sums": _put(out, "sums", SUMS, sums_of(model.design)),
        }
        if model.priors:
            header["model"]["priors"] = [list(one) for one in model.priors.given.items()]
    kept = {"params": Kept.of(fit)}
    header["fit"] = {
        name: _put(out, name, codec, kept.get(name) or getattr(fit, name))
        for name, codec in FIT.items()
    }
    header["texts"] = list(map(list, out.texts))
    target = located(path)
    write_archive(target, header, out.arrays)
    return target


def load(
    path: str | PathLike[str],
    *,
    functions: Functions | None = None,
    family: Family | None = None,
    max_bytes: int = MAX_BYTES,
    again: Callable[[Design], Design] | None = None,
) -> FittedModel:
    """Load what `save` wrote; see `lmeformula.api.load`. `again` gives a design its rows again."""
    with open_archive(located(path), max_bytes) as archive:
        header = _checked_header(archive)
        source = Reader(archive)
        with source.at("texts"):
            source.texts = Each(Each(TEXT)).read(header["texts"], source)
        with source.at("model"):
            model = _read_model(header["model"], source, functions or {}, family, again)
        with source.at("fit"):
            source.sizes |= {"d": model.space.size, "three": 3}
            source.sizes.pop("f", None)
            kept = header["fit"]
            if isinstance(kept, dict):
                kept = dict.fromkeys(LATER) | kept
            fields = read_fields(FIT, kept, source)
            if (fields["params"].sigma is None) == model.family.is_normal:
                source.refuse("sigma does not go with the family")
            fields["params"] = fields["params"].params
            if model.space.has_no_residual:
                space = model.space.holding(fields["params"].residual_sd)
                model = replace(model, space=space)
            found = FittedModel(model=model, **fields)
            _check_fit(found, source)
    return found


def _put(out: Writer, name: str, codec: Codec, value: object) -> Json:
    with out.at(name):
        return codec.write(value, out)


def _checked_header(archive: Archive) -> dict[str, Json]:
    header = archive.header()
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise SavedFitError(
            f"{archive.path} is not a saved fit", hint="Give a file that fit.save(path) wrote."
        )
    version = header.get("version")
    if isinstance(version, int) and version > VERSION:
        raise SavedFitError(
            f"{archive.path} was saved by a newer lmeformula, in version {version} of the format; "
            f"this one reads version {VERSION}",
            hint="Update lmeformula: pip install --upgrade lmeformula.",
        )
    if version != VERSION or set(header) != {"format", "version", "model", "fit", "texts"}:
        archive.refuse(f"has a {HEADER} that is not as fits are saved")
    return header


def _read_model(
    found: Json,
    source: Reader,
    functions: Functions,
    family: Family | None,
    again: Callable[[Design], Design] | None,
) -> Model:
    if not isinstance(found, dict) or not isinstance(found.get("design"), dict):
        source.refuse("it has no design")
    fields: dict[str, Codec] = {
        "family": _FamilyCodec(family),
        "dtype": choice(DTYPES),
        "fixed_sigma": maybe(real(finite=True)),
        "design": DesignCodec(functions),
        "own": OWN,
        "sums": SUMS,
        "priors": Each(Each(TEXT)),
    }
    values = read_fields(fields, {"sums": None, "priors": []} | found, source)
    design, rule = values["design"], values["family"]
    own = _with_scale(values["own"], rule, source)
    for each in design.predictors:
        with source.at("design"):
            _check_predictor(each.design, source)
    if design.num_predictors != len(rule.predictors):
        source.refuse("the family has another number of linear predictors")
    if not np.isfinite(own.start).all():
        source.refuse("the family's parameters start from no number")
    if not _fits(own):
        source.refuse("the family's parameters do not go with their scale")
    design = replace(design, given=design.given._replace(sums=values["sums"]))
    if again is not None:
        design = again(design)
    if not rule.is_normal:
        return _with_priors(
            Model(design, rule, param_space(design, own), values["dtype"]), values["priors"], source
        )
    sigma, space = values["fixed_sigma"], param_space(design, rule.own(design.first))
    if sigma is not None and sigma < 0.0:
        source.refuse("the fixed sigma is negative")
    if sigma is not None:
        # Of none, what stands for it is among the estimates.
        space = replace(space.holding(sigma), has_no_residual=sigma == 0.0)
    return _with_priors(Model(design, rule, space, values["dtype"]), values["priors"], source)


def _with_priors(model: Model, given: tuple[tuple[str, ...], ...], source: Reader) -> Model:
    """A model with the priors that a file has, as texts by name."""
    if any(len(one) != 2 for one in given) or len({one[0] for one in given}) < len(given):
        source.refuse("its priors are no texts by name")
    try:
        priors = priors_of(
            {one[0]: one[1] for one in given}, model.design, model.family, model.space
        )
    except ModelError as error:
        source.refuse(error.problem)
    return replace(model, priors=priors)


def _with_scale(own: Own, rule: Family, source: Reader) -> Own:
    """Own parameters, whose scale comes with the family where it is one of the user's."""
    if rule.scale is None:
        if own.scale is None:
            source.refuse("the family's parameters have no scale")
        return own
    if rule.own_names != own.names:
        raise SavedFitError(
            f"the family {rule.name} of {source.archive.path} has the parameters {', '.join(own.names)}, and "
            f"the one that is given {', '.join(rule.own_names) or 'none'}",
            hint="Give the family that was fitted: lf.load(path, family=...).",
        )
    return own._replace(scale=rule.scale)


def _fits(own: Own) -> bool:
    """Whether the natural values are as many as the scale makes of the unconstrained ones."""
    count = len(own.start)
    if isinstance(own.scale, Patterned):
        shape = own.scale.matrix.shape if own.scale.count == count else ()
        return shape == (count, own.size) and len(own.values) in (0, count)
    return own.size == count and not own.values and own.report is None


class _FamilyCodec:
    """A family by name and link; one of the caller's is given again for reading."""

    def __init__(self, again: Family | None = None) -> None:
        self.again = again

    def write(self, value: Family, out: Writer) -> Json:
        """Its name, link and thresholds, and whether it is in the table."""
        base = value.base
        found = {name: getattr(base, name) for name in ("name", "link", "thresholds")}
        found["is_own"] = not is_from_table(base)
        return found | ({"predictors": list(value.further)} if value.further else {})

    def read(self, found: Json, source: Reader) -> Family:
        """From the table, or as given."""
        fields = {"name": TEXT, "link": TEXT, "thresholds": TEXT, "is_own": FLAG}
        if isinstance(found, dict) and "predictors" in found:
            fields["predictors"] = Each(TEXT)
        values = read_fields(fields, found, source)
        further = values.pop("predictors", ())
        family = self._of_one(**values, source=source)
        try:
            return with_predictors(family, further)
        except ModelError as error:
            source.refuse(error.problem)

    def _of_one(
        self, *, name: str, link: str, thresholds: str, is_own: bool, source: Reader
    ) -> Family:
        if not is_own:
            pattern = f", thresholds={thresholds}" if thresholds else ""
            try:
                return find_family(f"{name}({link}{pattern})")
            except ModelError as error:
                source.refuse(error.problem)
        if self.again is None or (self.again.name, self.again.link) != (name, link):
            raise SavedFitError(
                f"the family {name}({link}) of {source.archive.path} was one of your own, which a file "
                "cannot hold",
                hint="Give it again: lf.load(path, family=...).",
            )
        return self.again


def _check_structure(term: TermBlock, written: Covariance, source: Reader) -> None:
    """Refuse a term whose covariance has other factors, or another matrix, than the formula says."""
    if term.rank != written.rank or (term.rank and term.rank >= len(term.columns)):
        source.refuse(f"the columns of {term.group} have other factors than the formula says")
    name = "" if term.known is None else term.known.name
    if name != written.matrix or (term.known is None) != (term.between is None):
        source.refuse(f"the covariance of the columns of {term.group} is not that of the formula")


def _check_predictor(design: Design, source: Reader) -> None:
    blocks = effect_terms(design.formula)
    if len(design.terms) != len(blocks):
        source.refuse("the terms are not those of the formula")
    for term, written in zip(design.terms, blocks, strict=True):
        if term.factors != written[0].group.key or not term.levels:
            source.refuse("the grouping factors are not those of the formula")
        if (term.covariance, term.homogeneous) not in KNOWN:
            source.refuse(f"there is no covariance structure {term.covariance!r}")
        has_positions = KINDS[term.covariance].has_positions
        if has_positions != (term.positions is not None) or (
            term.positions is not None and len(term.positions) * term.parts != len(term.columns)
        ):
            source.refuse(f"the columns of {term.group} are not those of its positions")
        _check_structure(term, written[0].covariance, source)
        known = term.relation
        if ("" if known is None else known.name) != written[0].group.cov or (
            known is not None and known.levels != term.levels
        ):
            source.refuse(
                f"the covariance of the levels of {term.group} is not that of the formula"
            )
        own = term.part_of
        has_own = term.parts > 1 and term.role == "group"
        if (own is None) == has_own or len(term.columns) % term.parts:
            source.refuse(f"the columns of {term.group} are not those of its covariances")
        if own is not None and not (
            len(own) == len(term.levels) and ((own >= 0) & (own < term.parts)).all()
        ):
            source.refuse(f"levels of {term.group} have covariances that do not exist")
        index: object = term.index
        members = (len(written[0].group.names),) if written[0].group.members else ()
        if term.index.shape[1:] != members or (term.shares is not None) != bool(members):
            source.refuse(f"rows have other members of {term.group} than the formula says")
        if term.shares is not None and term.shares.shape != term.index.shape:
            source.refuse(f"members of {term.group} have no shares")
        if isinstance(index, np.ndarray) and not (
            ((index >= 0) & (index < len(term.levels))).all()
        ):
            source.refuse(f"rows have levels of {term.group} that do not exist")
    if design.recipe is None:
        return
    check_recipe(design.recipe, design.formula, source)
    for term, written in zip(design.terms, blocks, strict=True):
        if (term.role == "population") == bool(written[0].group.names):
            source.refuse(f"{term.name} is not of those that the formula says")
        if term.factors and design.recipe.groupings[term.factors].levels != term.levels:
            source.refuse(f"the levels of {term.group} are not the same everywhere")


def _check_fit(fit: FittedModel, source: Reader) -> None:
    for i, term in enumerate(fit.model.design.terms):
        levels, k = len(term.levels), len(term.columns)
        shapes = {
            "params.covariances": (fit.params.covariances[i].shape, (k, k)),
            "modes": (fit.modes[i].shape, (levels, k)),
            "mode_cov": (fit.mode_cov[i].shape, (levels, k, k)),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                source.refuse(f"{name} of {term.name} has the shape {shape}, not {expected}")
    if len(fit.params.own) != len(fit.model.space.own.start):
        source.refuse("the family has another number of parameters")
    if fit.outcome is Outcome.NONFINITE:
        return
    if fit.sigma is not None and not 0 <= fit.sigma < np.inf:
        source.refuse("sigma is not a positive number")
    numbers = (fit.params.beta, *fit.params.covariances, fit.params.own, *fit.modes)
    if not all(np.isfinite(array).all() for array in numbers):
        source.refuse("estimates are not finite, though the fit says that they are")
