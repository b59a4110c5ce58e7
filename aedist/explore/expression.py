"""Expressions of latent arithmetic: ``glasses & man - man + woman`` to signed terms, each a condition on images.

::

    expression  =  [sign] condition { sign condition }          sign  =  "+" | "-"
    condition   =  all { "|" all }
    all         =  one { "&" one }
    one         =  "!" one | "(" condition ")" | name [ "=" name ]
    name        =  letters, digits, _ and . ; or anything in quotes, in which two quotes are one of the text's own

Only what is written is known here; whether there are such classes and attributes is ``conditions``'s business.
"""

import re
from dataclasses import dataclass

from aedist.errors import UserError

_DEEPEST = 50
_MOST_CHARACTERS = 2000
_TOKEN = re.compile(
    r"""\s*(?:(?P<name>[A-Za-z0-9_.]+)|"(?P<double>(?:[^"]|"")*)"|'(?P<single>(?:[^']|'')*)'|(?P<sign>[-+&|!()=]))"""
)


@dataclass(frozen=True)
class Name:
    """Images of a class, or with an attribute; with ``value``, those where the attribute is that."""

    name: str
    value: str | None
    position: int
    """Where it stands in the expression."""


@dataclass(frozen=True)
class Not:
    """Images for which the condition is known not to hold."""

    condition: "Condition"


@dataclass(frozen=True)
class And:
    """Images for which all of the conditions hold."""

    conditions: tuple["Condition", ...]


@dataclass(frozen=True)
class Or:
    """Images for which one of the conditions holds."""

    conditions: tuple["Condition", ...]


Condition = Name | Not | And | Or


@dataclass(frozen=True)
class Term:
    """A group of images and the sign of its mean."""

    sign: int
    """1 or -1."""
    condition: Condition
    text: str
    """The condition as it was written."""


def parse(text: str) -> tuple[Term, ...]:
    """The terms of an expression, at least one.

    Raises:
        UserError: in one line with the expression, the place in it, and what must stand there.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UserError(f"expression: it has {len(text):,} characters, and {_MOST_CHARACTERS:,} are the most")
    return _Parser(text).expression()


def mistake(text: str, position: int, problem: str) -> UserError:
    """The error that points at a place of an expression."""
    before, after = printable(text[:position].strip()), printable(text[position:].strip())
    shown = " ".join(part for part in (before, "<here>", after) if part)
    return UserError(f"expression: {shown}: {problem}")


def printable(text: str) -> str:
    """The text with what would not print, line breaks too, spelt out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class _Token:
    kind: str
    """``name``, ``end``, or the sign itself."""
    text: str
    position: int
    end: int


class _Parser:
    """Recursive descent: a method a rule of the grammar, each leaving the first token that is not its own."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._token = self._read(0)
        self._last_end = 0

    def expression(self) -> tuple[Term, ...]:
        """All of it."""
        terms = [self._term(self._sign() if self._at("+", "-") else 1)]
        while not self._at("end"):
            terms.append(self._term(self._sign()))
        return tuple(terms)

    def _term(self, sign: int) -> Term:
        start = self._token.position
        condition = self._condition()
        return Term(sign, condition, self._text[start : self._last_end])

    def _sign(self) -> int:
        if not self._at("+", "-"):
            raise self._unexpected("+, -, & or |")
        return 1 if self._next().kind == "+" else -1

    def _condition(self) -> Condition:
        parts = [self._all()]
        while self._at("|"):
            self._next()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self) -> Condition:
        parts = [self._one()]
        while self._at("&"):
            self._next()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise mistake(self._text, self._token.position, f"it is nested more than {_DEEPEST} deep; write it simpler")
        found = self._one_at_this_depth()
        self._depth -= 1
        return found

    def _one_at_this_depth(self) -> Condition:
        if self._at("!"):
            self._next()
            return Not(self._one())
        if self._at("("):
            self._next()
            inner = self._condition()
            if self._at("+", "-"):
                problem = f"{self._token.kind} joins groups, which do not stand in parentheses; use & | ! in them"
                raise mistake(self._text, self._token.position, f"{problem}{_quotes(self._token.kind)}")
            if not self._at(")"):
                raise self._unexpected("), & or |")
            self._next()
            return inner
        if not self._at("name"):
            raise self._unexpected("a name, ! or (")
        name = self._next()
        if not name.text:  # a value may be an empty text
            raise mistake(self._text, name.position, "the quotes hold no name; put one between them")
        if not self._at("="):
            return Name(name.text, None, name.position)
        self._next()
        if not self._at("name"):
            raise self._unexpected("a value, in quotes if it has other characters than letters, digits, _ and .")
        return Name(name.text, self._next().text, name.position)

    def _at(self, *kinds: str) -> bool:
        return self._token.kind in kinds

    def _next(self) -> _Token:
        """Step over the token, and return it."""
        passed, self._last_end = self._token, self._token.end
        self._token = self._read(passed.end)
        return passed

    def _read(self, position: int) -> _Token:
        """The token from ``position`` on."""
        found = _TOKEN.match(self._text, position)
        if found is None:
            rest = self._text[position:]
            start = position + len(rest) - len(rest.lstrip())
            if start == len(self._text):
                return _Token("end", "", start, start)
            if self._text[start] in "\"'":
                raise mistake(self._text, start, "a quote opens here and does not end; close it")
            shown = printable(self._text[start])
            raise mistake(self._text, start, f"{shown} means nothing here; put names with such characters in quotes")
        group = str(found.lastgroup)
        if group == "sign":
            return _Token(found["sign"], found["sign"], found.start("sign"), found.end())
        start = found.start(group) - (group != "name")  # the quote belongs to it
        quote = {"double": '"', "single": "'"}.get(group, "")
        return _Token("name", found[group].replace(2 * quote, quote), start, found.end())

    def _unexpected(self, wanted: str) -> UserError:
        token = self._token
        if token.kind == "end":
            return mistake(self._text, token.position, f"it ends where {wanted} must follow; go on, or shorten it")
        problem = f"{wanted} must stand here, not {printable(token.text)}; mend it{_quotes(token.kind)}"
        if token.kind == "name" and wanted.startswith("+"):
            problem += ', or if both belong to one name put that in quotes, as in "egyptian cat"'
        return mistake(self._text, token.position, problem)


def _quotes(kind: str) -> str:
    return ', or if - belongs to a name put that in quotes, as in "t-shirt"' if kind == "-" else ""
