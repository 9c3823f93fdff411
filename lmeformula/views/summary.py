"""View stage: a fit in a few lines (`repr`), and its summary as text, Markdown, HTML or LaTeX."""

from __future__ import annotations

import html
import textwrap
from collections import defaultdict
from dataclasses import dataclass

from lmeformula.arguments import kinds
from lmeformula.checking.diagnostics import stderr_source
from lmeformula.checking.ending import how_it_ended
from lmeformula.drawn import SURROGATES, Draws
from lmeformula.fit import FittedModel
from lmeformula.inference.ddf import METHODS
from lmeformula.inference.posterior_summary import smallest
from lmeformula.inference.tables import (
    coefficient_table,
    family_table,
    smooth_table,
    variance_table,
)
from lmeformula.prediction.parameters import parameters
from lmeformula.text.numbers import short
from lmeformula.text.render import (
    facts_html,
    facts_lines,
    markdown_text,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)
from lmeformula.text.table import Table

_METHODS = {
    "exact": "maximum likelihood (ML), exact",
    "quadrature": "maximum likelihood, quadrature",
    "laplace": "maximum likelihood, Laplace approximation",
    "mcem": "maximum likelihood by Monte Carlo EM",
    "nuts": "posterior distribution, by the no-U-turn sampler",
    "vi": "approximation to the posterior distribution, by variational inference",
}
_MODES = {
    "exact": "posterior mode (MAP), exact",
    "quadrature": "posterior mode (MAP), quadrature",
    "laplace": "posterior mode (MAP), Laplace approximation",
}
# Why a method ran, and what another one is.
_OTHERS = {
    "quadrature": ', as blocks of effects are small; method="laplace" is quicker and approximate'
}
_NAMED = 6  # parameters named in a repr before it says how many more there are


@dataclass(frozen=True, slots=True)
class Summary:
    """What to know about a fit, ready to be rendered; made by `summary`.

    Attributes:
      outcome: how the fit ended, one sentence.
      title: the kind of model.
      facts: label and text of the lines below the title.
      tables: the random and the fixed effects, then thresholds or other parameters of the family.
    """

    outcome: str
    title: str
    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]

    @kinds.takes(width=kinds.whole(1))
    def to_text(self, width: int = 80) -> str:
        """Render as plain text for a terminal of `width` columns."""
        parts = ["\n".join(textwrap.wrap(self.outcome, width))]
        parts.append("\n".join([self.title, *facts_lines(self.facts, width)]))
        parts += [to_text(table, width) for table in self.tables if table.num_rows]
        return "\n\n".join(parts)

    def to_markdown(self) -> str:
        """Render as GitHub's Markdown."""
        facts = [f"- {label}: {markdown_text(text)}" for label, text in self.facts]
        parts = [markdown_text(self.outcome), f"**{self.title}**", "\n".join(facts)]
        return "\n\n".join([*parts, *map(to_markdown, self.tables)])

    def to_latex(self) -> str:
        """Render the tables as LaTeX."""
        return "\n\n".join(to_latex(table) for table in self.tables)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = f"<p>{html.escape(self.outcome)}</p><p><b>{html.escape(self.title)}</b></p>"
        return "\n".join([head, facts_html(self.facts), *map(to_html, self.tables)])

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


@kinds.takes(ddf=kinds.one_of(None, *METHODS))
def summary(fit: FittedModel, *, ddf: str | None = "auto") -> Summary:
    """Collect what a reader wants to know about a fit, its outcome first.

    Args:
      fit: a fitted model.
      ddf: degrees of freedom for p-values of the fixed effects: "satterthwaite", "kenward-roger", "none" for
        the normal distribution, or "auto", Satterthwaite's where the model is Gaussian and they can be had in a
        moment; the table's foot says which. None leaves the p-values out.
    Returns:
      summary: prints as text in a terminal and as HTML in a notebook.
    """
    design = fit.model.design
    left_out = (
        f" ({design.num_missing:,} left out: {design.why_left_out})" if design.num_missing else ""
    )
    facts = [
        ("formula", _formula_text(fit)),
        ("method", f"{_method(fit)}{_effort(fit)}{_other(fit)}"),
        ("rows", f"{_rows(fit)}{left_out}{_group_sizes(fit)}"),
        *_event(fit),
        *_priors(fit),
        ("draws" if fit.draws is not None else "fit", _fit_line(fit)),
        ("errors", f"standard errors from {stderr_source(fit)}"),
    ]
    if fit.draws is not None:
        del facts[-1]
    if design.dropped:
        facts.append(("left out", f"{', '.join(design.dropped)} (determined by other columns)"))
    tables = (variance_table(fit), coefficient_table(fit, ddf), family_table(fit))
    # The random and the fixed effects also where there are none; others only where there are some.
    shown = (*tables[:2], *(each for each in (smooth_table(fit), tables[2]) if each.num_rows))
    return Summary(how_it_ended(fit), _title(fit), tuple(facts), shown)


def _event(fit: FittedModel) -> tuple[tuple[str, str], ...]:
    """Of two classes told by words, which one's chance it is."""
    response = fit.model.design.response
    if response is None or fit.model.family.categories is not None or len(response.levels) != 2:
        return ()
    other, event = response.levels
    return (("event", f"{response.name} is {event}, not {other}"),)


def _priors(fit: FittedModel) -> tuple[tuple[str, str], ...]:
    """The priors as they were given, or as they are by default; parameters without one have a flat density."""
    written = [f"{key} ~ {text}" for key, text in fit.model.priors.given.items()]
    return (("priors", "; ".join(written)),) if written else ()


def _rows(fit: FittedModel) -> str:
    """How many rows there are, and observations where those are others."""
    rows = f"{fit.model.design.n:,}"
    if fit.model.design.frequency is None:
        return rows
    return f"{rows}, which stand for {fit.nobs:,} observations"


def short_repr(fit: FittedModel, width: int = 80) -> str:
    """Show a fit in fewer than a dozen lines: outcome, model, parameters.

    Args:
      fit: a fitted model.
      width: columns of the terminal.
    Returns:
      text: no newline at the end.
    """
    shown: dict[str, list[str]] = defaultdict(list)
    for p in parameters(fit):
        # Of "sd(students)" what is between the brackets.
        name = p.name[p.name.find("(") + 1 : -1] if p.effect in ("sd", "df") else p.term
        error = f" ({short(p.std_error)})" if p.effect == "fixed" else ""
        is_alone = p.effect == "family" and len(fit.params.own) == 1
        shown[p.effect].append(f"{'' if is_alone else f'{name} '}{short(p.estimate)}{error}")
    if fit.sigma is not None:
        shown["sd"].append(f"residual {short(fit.sigma)}")
    facts = (
        ("formula", _formula_text(fit)),
        ("rows", f"{_rows(fit)}{_group_sizes(fit)}"),
        *_event(fit),
        *_priors(fit),
        ("draws" if fit.draws is not None else "fit", _fit_line(fit)),
        ("fixed", _enumerate(shown["fixed"])),
        ("scale" if shown["df"] else "sd", _enumerate(shown["sd"])),
        ("df", _enumerate(shown["df"])),
        (fit.model.space.own.variable, _enumerate(shown["family"])),
    )
    lines = facts_lines([fact for fact in facts if fact[1]], width)
    outcome = textwrap.shorten(how_it_ended(fit), 4 * width, placeholder=" ...")
    return "\n".join([*textwrap.wrap(outcome, width), f"{_title(fit)}, {_method(fit)}", *lines])


def _title(fit: FittedModel) -> str:
    if fit.model.family.is_distributional:
        base, names = fit.model.family.base, ", ".join(fit.model.family.predictors)
        return f"Distributional mixed model ({base.name}, {base.link} link; {names})"
    family, link = fit.model.family.name, fit.model.family.link
    mixed = "mixed model" if fit.model.design.terms else "model"
    if family == "gaussian" and link == "identity":
        return f"Linear {mixed}"
    pattern = fit.model.family.thresholds
    said = "" if pattern in ("", "flexible") else f", {pattern} thresholds"
    return f"Generalized linear {mixed} ({family}, {link} link{said})"


def _formula_text(fit: FittedModel) -> str:
    return " ".join(fit.model.design.formula.written.split())


def _method(fit: FittedModel) -> str:
    known = _MODES if fit.has_priors and fit.draws is None else _METHODS
    method = known[fit.method]
    if fit.reml and fit.has_priors:
        method += ", restricted likelihood"
    elif fit.reml:
        method = "restricted " + method.replace("(ML)", "(REML)")
    return method if fit.is_factored else f"{method}, iterative solver"


def _other(fit: FittedModel) -> str:
    """What else there is: the other likelihood of a Gaussian model, or another method and what it costs."""
    if fit.method in _OTHERS:
        return _OTHERS[fit.method]
    is_default = fit.has_priors or fit.model.design.shards is not None
    if fit.has_modes and not is_default and not any(t.meets for t in fit.model.design.terms):
        return '; method="auto" goes beyond it'
    if fit.is_drawn and fit.laplace_values is not None:
        took = f"{short(fit.seconds.start)} of {short(fit.seconds.total)} s"
        return f', as blocks of effects are large; its start by "laplace", approximate, took {took}'
    if not (fit.is_exact and fit.model.space.has_normal_priors) or fit.has_priors:
        return ""
    return "; reml=False for ML" if fit.reml else "; reml=True for REML"


def _effort(fit: FittedModel) -> str:
    if fit.draws is not None:
        draws = fit.draws
        if draws.surrogate is not None:
            count = draws.num_chains * draws.num_draws
            again = ", drawn again by importance" if draws.effort.importance else ""
            return f", {SURROGATES[draws.effort.surrogate]}, {count:,} draws{again}"
        chains = "1 chain" if draws.num_chains == 1 else f"{draws.num_chains} chains"
        warmup = draws.warmup_stats.lp.shape[1]
        return f", {chains} of {draws.num_draws:,} draws after {warmup:,} of warm-up"
    if not fit.iterations:
        return ""
    last = fit.iterations[-1]
    iterations = "1 iteration" if last.number == 1 else f"{last.number} iterations"
    return f", {iterations}, {last.num_draws:,} draws per chain in the last"


def _group_sizes(fit: FittedModel) -> str:
    terms = fit.model.design.terms
    sizes = {term.group: len(term.levels) for term in terms if term.role == "group"}
    listed = ", ".join(f"{size:,} {group}" for group, size in sizes.items())
    return f"; {listed}" if listed else ""


def _fit_line(fit: FittedModel) -> str:
    if fit.draws is not None:
        return _mixing_line(fit.draws)
    loglik = fit.loglik
    error = f" (MC error {short(loglik.mc_error)})" if loglik.mc_error else ""
    if fit.has_priors:
        return f"logLik {loglik.value:.2f}, log posterior {fit.log_posterior:.2f}, df {loglik.df}"
    return f"logLik {loglik.value:.2f}{error}, df {loglik.df}, AIC {fit.aic:.2f}, BIC {fit.bic:.2f}"


def _mixing_line(draws: Draws) -> str:
    near = draws.surrogate
    if near is not None:
        return (
            f"ELBO {near.elbo:.2f} (MC error {short(near.elbo_error)}), Pareto's k {near.khat:.2f}, "
            f"importance leaves {near.effective:,.0f} effective draws"
        )
    mixing = draws.mixing
    bulk, tails = smallest(mixing.ess_bulk), smallest(mixing.ess_tail)
    return (
        f"R-hat up to {-smallest(-mixing.rhat):.3f}, effective draws from {bulk:,.0f} (bulk) and "
        f"{tails:,.0f} (tails), {draws.divergences:,} divergences, E-BFMI from {smallest(draws.bfmi):.2f}"
    )


def _enumerate(items: list[str]) -> str:
    more = len(items) - _NAMED
    shown = ", ".join(items[:_NAMED])
    return f"{shown}, ... {more} more" if more > 0 else shown
