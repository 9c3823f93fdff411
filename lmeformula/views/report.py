"""View stage: a fit as a folder of files: its summary, its tables as CSV, its pictures, the fit itself."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from lmeformula.axes import panels_on
from lmeformula.files import write_whole
from lmeformula.fit import FittedModel
from lmeformula.inference.tidy import tidy
from lmeformula.prediction.ranef import ranef
from lmeformula.store.save import save
from lmeformula.text.names import file_names
from lmeformula.views.plots import convergence, effects, residuals
from lmeformula.views.summary import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
MOST_PANELS = 12


def write_report(fit: FittedModel, folder: Path, *, data: bool = False) -> list[Path]:
    """Write what a reader wants to keep of a fit; files of the same names are replaced.

    Args:
      fit: a fitted model.
      folder: made where it does not exist.
      data: keep the rows of the data in fit.zip.
    Returns:
      paths: summary.txt, tidy.csv, effects.csv where there are random effects, fit.zip, which
        `lmeformula.load` reads, and pictures where matplotlib is installed.
    Raises:
      OSError: if the folder cannot be written.
    """
    # All is made before anything is written: what cannot be drawn leaves the folder as it was.
    contents: dict[str, bytes] = {
        "summary.txt": f"{summary(fit)}\n".encode(),
        "tidy.csv": tidy(fit).to_csv(index=False).encode(),
    }
    groups = dict.fromkeys(block.group for block in fit.model.design.terms)
    if groups:
        contents["effects.csv"] = ranef(fit).to_csv(index=False).encode()
    pictures: dict[str, bytes] = {}
    if has_matplotlib():
        drawings: dict[str, Callable[[Figure], object]] = {
            "residuals.png": lambda figure: residuals(fit, figure.subplots())
        }
        for group, name in file_names(groups).items():
            drawings[f"effects-{name}.png"] = partial(draw_effects, fit, group, None)
        if fit.is_drawn:
            drawings["convergence.png"] = partial(draw_convergence, fit)
        pictures = {name: picture(draw) for name, draw in drawings.items()}
    folder.mkdir(parents=True, exist_ok=True)
    paths = [write_whole(folder / name, content) for name, content in contents.items()]
    paths.append(save(fit, folder / "fit.zip", data=data))
    return paths + [write_whole(folder / name, drawn) for name, drawn in pictures.items()]


def has_matplotlib() -> bool:
    """Say whether pictures can be made."""
    return importlib.util.find_spec("matplotlib") is not None


def save_figure(
    draw: Callable[[Figure], object], path: Path, size: tuple[float, float] = (7.0, 4.5)
) -> Path:
    """Draw one figure and write it; pyplot and its windows take no part.

    Args:
      draw: puts axes on the figure and draws on them.
      path: where to write; the suffix chooses the format.
      size: width and height in inches.
    Returns:
      path: as given.
    """
    return write_whole(path, picture(draw, path.suffix.removeprefix(".") or "png", size))


def picture(
    draw: Callable[[Figure], object],
    kind: str = "png",
    size: tuple[float, float] = (7.0, 4.5),
    dpi: int = DPI,
) -> bytes:
    """Draw one figure; letters that the font lacks are boxes, without a word. See `save_figure`.

    Args:
      draw: puts axes on the figure and draws on them.
      kind: the format, as matplotlib calls it.
      size: width and height in inches.
      dpi: dots an inch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    draw(figure)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(content, dpi=dpi, format=kind)
    return content.getvalue()


def draw_effects(fit: FittedModel, group: str, column: str | None, figure: Figure) -> None:
    """Draw the effects of a grouping factor on a figure of their own."""
    effects(fit, group, column, ax=figure.subplots())


def draw_convergence(fit: FittedModel, figure: Figure) -> None:
    """Draw the way of the first parameters on a figure of their own."""
    names = fit.param_names[:MOST_PANELS]
    convergence(fit, names, list(panels_on(figure, len(names))))
