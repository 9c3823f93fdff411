"""A fit with a checkpoint: gone on with where it was left, and removed with its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from lmeformula.checkpoint.folder import Folder
from lmeformula.checkpoint.journal import EVALUATION, ITERATION, Journal
from lmeformula.em.outcome import Outcome
from lmeformula.em.types import Options
from lmeformula.estimation.fingerprint import fingerprint
from lmeformula.fit import FittedModel
from lmeformula.history import Resumed
from lmeformula.model.compile import Model


def resumed(
    run: Callable[[], FittedModel],
    folder: Folder,
    model: Model,
    options: Options,
    choices: Mapping[str, object],
) -> FittedModel:
    """Fit a model, keeping a journal of it in a folder; and from where its journal ends, if it has one.

    Args:
      run: fits it.
      folder: of the journal, which stays there only if the user stops the fit.
      model, options, choices: see `fingerprint`.
    Returns:
      The fit, which says from where it went on.
    Raises:
      CheckpointError: if the journal is of another fit.
    """
    with folder.journal_of(fingerprint(model, options, choices)) as journal:
        fit = run()
        journal.is_finished = fit.outcome is not Outcome.INTERRUPTED
    return replace(fit, resumed=_resumed(journal, fit))


def _resumed(journal: Journal, fit: FittedModel) -> Resumed | None:
    recalled = journal.recalled
    if not recalled:
        return None
    return Resumed(recalled[EVALUATION], recalled[ITERATION], journal.seconds_before)
