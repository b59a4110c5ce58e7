"""Any text is an expression or one clear line; an expression means what the grammar says."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aedist.errors import UserError
from aedist.explore.conditions import compile_condition
from aedist.explore.expression import And, Name, Not, Or, parse
from aedist.shards.index import Index, Shard

INDEX = Index(
    "faces",
    "test",
    (8, 8, 3),
    ("man", "woman", "t-shirt", "both", "crane", "crane"),
    (Shard("a.tar", 9, 9, "0" * 64, (0,)),),
    ("n01", "n02", "n03", "n04", "n05", "n06"),
    {"glasses": "bool", "smiling": "bool", "both": "bool", "hair": ("", "black", "dark brown", "5'4\""), "age": "int"},
)


def names(text: str) -> list[tuple[int, str]]:
    return [(term.sign, term.text) for term in parse(text)]


def fulfils(text: str, label: int | None, **attributes: bool | int | str) -> bool | None:
    (term,) = parse(text)
    return compile_condition(term.condition, INDEX, text)(label, attributes)


def understand(text: str) -> None:
    for term in parse(text):
        compile_condition(term.condition, INDEX, text)


def told(text: str) -> str:
    """The one line that a refused expression gives."""
    with pytest.raises(UserError) as caught:
        understand(text)
    line = str(caught.value)
    assert line.startswith("expression: ")
    assert line.isprintable()
    return line


def test_terms_have_signs_and_their_own_words() -> None:
    assert names("glasses & man - man + woman") == [(1, "glasses & man"), (-1, "man"), (1, "woman")]
    assert names(" - (a|b)&!c +'t-shirt'") == [(-1, "(a|b)&!c"), (1, "'t-shirt'")]
    assert names("+a") == [(1, "a")]


def test_not_binds_tighter_than_and_and_and_tighter_than_or() -> None:
    a, b, c = Name("a", None, 1), Name("b", None, 5), Name("c", None, 9)
    assert parse("!a | b & c")[0].condition == Or((Not(a), And((b, c))))
    (term,) = parse("(a | b) & c")
    assert term.condition == And((Or((Name("a", None, 1), Name("b", None, 5))), Name("c", None, 10)))


def test_names_have_values_and_quotes() -> None:
    assert parse('hair = "dark brown"')[0].condition == Name("hair", "dark brown", 0)
    assert parse('\'it\'\'s\' & "say ""no"""')[0].condition == And((Name("it's", None, 0), Name('say "no"', None, 10)))
    assert fulfils("hair='5''4\"'", None, hair="5'4\"")
    assert fulfils("hair=''", None, hair=""), "an empty text is a value"
    assert parse("5_o_Clock.Shadow")[0].condition == Name("5_o_Clock.Shadow", None, 0)


@given(st.one_of(st.text(), st.text(alphabet="ab&|!()+-= \"'."), st.text(alphabet="!(", min_size=40)))
@example("(" * 1999)
@example("a" * 2001)
@example("a\n&\udc80")
def test_any_text_is_an_expression_or_one_clear_line(text: str) -> None:
    try:
        terms = parse(text)
    except UserError as error:
        line = str(error)
        terms = ()
    else:
        line = "no error"
        again = parse("".join(f"{'+' if term.sign > 0 else '-'}{term.text}" for term in terms))
        assert [(term.sign, term.text) for term in again] == [(term.sign, term.text) for term in terms]
    assert line.isprintable()
    assert bool(terms) == (line == "no error")


WORDS = ("glasses", "man", "hair", "=", "black", "'t-shirt'", "class", "age", "30", "&", "|", "!", "(", ")", "+", "-")


@given(st.lists(st.sampled_from(WORDS)), st.none() | st.integers(0, 5))
def test_any_words_are_understood_or_refused_in_one_clear_line(words: list[str], label: int | None) -> None:
    text, line, known = " ".join(words), "", list[bool | None]()
    try:
        terms = parse(text)
        known = [compile_condition(term.condition, INDEX, text)(label, {"glasses": True}) for term in terms]
    except UserError as error:
        line = str(error)
    assert line.isprintable()
    assert all(one in (True, False, None) for one in known)
    assert bool(known) != bool(line)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a name, ! or ( must follow"),
        ("glasses & - man", "glasses & <here> - man"),
        ("man woman", "man <here> woman"),
        ("(man | woman", "(man | woman <here>"),
        ("(man - woman)", "do not stand in parentheses"),
        ("man + ''", "hold no name"),
        ('man + "wom', "close it"),
        ("man % woman", "man <here> % woman"),
        ("hair=", "a value"),
        ("dark brown", 'put that in quotes, as in "egyptian cat"'),
    ],
)
def test_a_bad_expression_is_shown_with_the_place(text: str, words: str) -> None:
    assert words in told(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("woman + glases", "did you mean glasses?"),
        ("Man", "did you mean man?"),
        ("t-shirt", 'write "t-shirt" in quotes'),
        ("hair", 'write hair=one of "", black, dark brown'),
        ("hair=blak", "did you mean black?"),
        ("age=old", "is a whole number"),
        ("age", "write age=a whole number"),
        ("class=boy", "knows no class"),
        ("colour=red", "knows no class or attribute colour"),
    ],
)
def test_what_the_split_does_not_know_is_told_with_what_it_knows(text: str, words: str) -> None:
    assert words in told(text)


def test_a_condition_is_what_its_words_say() -> None:
    assert fulfils("glasses & man", 0, glasses=True)
    assert fulfils("glasses & man", 1, glasses=True) is False
    assert fulfils("glasses | woman", 1, glasses=False)
    assert fulfils("!(glasses | woman)", 0, glasses=False)
    assert fulfils("'hair'='dark brown'", None, hair="dark brown")
    assert fulfils("age=30", None, age=30)
    assert fulfils("age=030", None, age=30), "a number, however it is spelt"
    assert fulfils("age='-3'", None, age=-3)
    assert fulfils("glasses=false", None, glasses=False)
    assert fulfils("both=true", 0, both=True)
    assert fulfils("both", 0, both=True), "of a class and an attribute of one name, the attribute"
    assert fulfils("class=both", 3, both=False)
    assert fulfils("n02", 1)
    assert fulfils("crane", 4)
    assert fulfils("crane", 5), "two classes share the name"


def test_what_a_sample_does_not_say_is_unknown_not_false() -> None:
    assert fulfils("glasses", 0) is None
    assert fulfils("!glasses", 0) is None
    assert fulfils("man", None) is None
    assert fulfils("glasses & man", 1) is False, "not a man, whatever stands on the nose"
    assert fulfils("glasses | man", 0), "a man, whatever stands on the nose"
    assert fulfils("glasses | man", 1) is None
