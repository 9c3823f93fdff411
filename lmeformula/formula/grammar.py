"""Text to syntax tree: compile the grammar once, and say in the user's words where a text leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from lark import Lark, Token, UnexpectedInput, UnexpectedToken

from lmeformula.errors import FormulaSyntaxError
from lmeformula.formula.ir import Span
from lmeformula.formula.mistakes import Report, mistakes, read_grammar_file
from lmeformula.formula.tree import TreeBuilder, TreeError, span_of
from lmeformula.formula.written import Sides

OPERANDS = frozenset({"NAME", "QUOTED_NAME", "NUMBER", "STRING", "CONSTANT"})
OPERATORS = frozenset(
    {"BAR", "AND", "COMPARE", "SIGN", "STAR", "PERCENT", "COLON", "POWER", "NAMESPACE"}
)
STRANGE = frozenset({"LOOKALIKE", "UNTERMINATED", "EMPTY_NAME", "UNKNOWN"})
END = "$END"
BY_COUNTING = frozenset({"unclosed_parenthesis", "unopened_parenthesis", "two_tildes"})


def read_tree(text: str) -> Sides:
    """Read a formula's text by the grammar.

    Args:
      text: the formula.
    Returns:
      tree: the syntax tree; what stands where is not checked yet.
    Raises:
      FormulaSyntaxError: where the text leaves the grammar.
    """
    try:
        tree = parser().parse(text, start="formula")
    except UnexpectedInput as unexpected:
        error: FormulaSyntaxError = explained(text, unexpected)
    except TreeError as mistake:
        report = Report(text)
        report.error(mistake.label, mistake.span, **mistake.fields)
        error = report.errors[0]
    else:
        assert isinstance(tree, Sides)
        return tree
    # Out here it has no context: lark's holds the whole parser, which what pickles contexts too cannot take.
    raise error


@cache
def parser() -> Lark:
    """Compile the grammar: LALR, so that reading takes time in proportion to the text."""
    return Lark(
        read_grammar_file("lmeformula.lark"),
        start=["formula", "never"],
        parser="lalr",
        lexer="basic",
        keep_all_tokens=True,
        maybe_placeholders=False,
        transformer=TreeBuilder(),
    )


def explained(text: str, unexpected: UnexpectedInput) -> FormulaSyntaxError:
    """Turn lark's complaint into ours: by the kind of token, by counting, or by example."""
    assert isinstance(unexpected, UnexpectedToken)  # the grammar has a token for every character
    report = Report(text)
    tokens = list(parser().lex(text))
    for token in tokens:
        if token.type in STRANGE:
            note_strange(token, report)
    if strange := report.together():
        return strange
    found = unexpected.token
    before = tokens_before(found, tokens)
    previous = before[-1] if before else None
    end = len(text.rstrip())
    unclosed = list(open_brackets(before))
    if found.type == END and unclosed:
        report.error("unclosed_parenthesis", span_of(unclosed[-1]))
    elif found.type == "RPAR" and not unclosed:
        report.error("unopened_parenthesis", span_of(found))
    elif found.type == "TILDE" and any(token.type == "TILDE" for token in before):
        report.error("two_tildes", span_of(found))
    else:
        report.error(
            label_of(unexpected, previous),
            (end, end) if found.type == END else span_of(found),
            found=shown(found),
            found_text=str(found),
            previous=shown(previous),
        )
    return report.errors[0]


def note_strange(token: Token, report: Report) -> None:
    """Note a token that no formula has."""
    span: Span = span_of(token)
    if token.type == "LOOKALIKE":
        name, ascii_form = LOOKALIKES.get(str(token), ("a look-alike or invisible character", ""))
        label = "lookalike" if ascii_form else "invisible"
        report.error(label, span, found=f"U+{ord(token):04X}", name=name, ascii=ascii_form)
    elif token.type == "UNTERMINATED":
        report.error("unterminated", (span[0], span[0] + 1), quote=str(token[0]))
    elif token.type == "EMPTY_NAME":
        report.error("empty_name", span)
    else:
        found = f"'{token}'" if token.isprintable() else f"the character U+{ord(token):04X}"
        report.error("unknown_character", span, found=found)


def tokens_before(found: Token, tokens: list[Token]) -> list[Token]:
    """Return the tokens before one of them; all of them before the end."""
    if found.type == END:  # lark gives the end the place of the last token
        return tokens
    return [token for token in tokens if span_of(token)[0] < span_of(found)[0]]


def open_brackets(tokens: list[Token]) -> Iterator[Token]:
    """Yield the opening parentheses that `tokens` leave open, outermost first."""
    stack: list[Token] = []
    for token in tokens:
        if token.type == "LPAR":
            stack.append(token)
        elif token.type == "RPAR" and stack:
            stack.pop()
    return iter(stack)


def shown(token: Token | None) -> str:
    """Quote a token for a message."""
    if token is None:
        return "the start"
    return "the end" if token.type == END else f"'{token}'" if "'" not in token else f'"{token}"'


def label_of(unexpected: UnexpectedToken, previous: Token | None) -> str:
    """Name the mistake after the most similar example in mistakes.toml."""
    for key in keys_of(unexpected, previous):
        if key in learned():
            return learned()[key]
    return "unexpected"


def keys_of(unexpected: UnexpectedToken, previous: Token | None) -> tuple[tuple[object, ...], ...]:
    """Describe where parsing stopped, most exactly first: by state, by tokens, by kinds of tokens."""
    found, before = unexpected.token.type, "" if previous is None else previous.type
    return (
        ("state", unexpected.state.position, before, found),
        ("tokens", before, found),
        ("kinds", kind(before), kind(found)),
    )


def kind(token_type: str) -> str:
    """Return the kind of a token: operand, operator or itself."""
    if token_type in OPERANDS:
        return "operand"
    return "operator" if token_type in OPERATORS else token_type


@cache
def learned() -> dict[tuple[object, ...], str]:
    """Parse the examples of mistakes.toml once: where each leaves the grammar is the mistake's signature."""
    table: dict[tuple[object, ...], str] = {}
    for mistake in mistakes().values():
        if mistake.label in BY_COUNTING:
            continue  # not by example
        for example in mistake.examples:
            try:
                parser().parse(example, start="formula")
            except UnexpectedToken as unexpected:
                before = tokens_before(unexpected.token, list(parser().lex(example)))
                for key in keys_of(unexpected, before[-1] if before else None):
                    table.setdefault(key, mistake.label)
            except TreeError:
                continue  # has its label already
    return table


# What the characters are called, and what to type instead.
LOOKALIKES = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d", ("a dash", "-")),
    "\u2212": ("a minus sign", "-"),
    **dict.fromkeys("\u223c\u02dc\uff5e\u301c", ("a tilde", "~")),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02", ("a curly quote", '"')),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u00b4\uff07", ("a curly quote", "'")),
    "\uff40": ("a backtick", "`"),
    **dict.fromkeys("\u00d7\u2217\u22c5\u00b7\u2022\uff0a", ("a multiplication sign", "*")),
    **dict.fromkeys("\u00f7\u2044\u2215\uff0f", ("a division sign", "/")),
    **dict.fromkeys("\u2223\uff5c\u00a6", ("a vertical bar", "|")),
    **dict.fromkeys("\uff08\u2768", ("a parenthesis", "(")),
    **dict.fromkeys("\uff09\u2769", ("a parenthesis", ")")),
    "\uff0b": ("a plus sign", "+"),
    **dict.fromkeys("\u02c6\u2303\uff3e", ("a circumflex", "^")),
    **dict.fromkeys("\u2236\uff1a", ("a colon", ":")),
    "\uff0c": ("a comma", ","),
    "\uff1b": ("a semicolon", ";"),
    "\uff1d": ("an equals sign", "="),
}
