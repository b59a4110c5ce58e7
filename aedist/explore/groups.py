"""Groups of images: the first so many of a split that fulfil a condition, in sample order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.explore.conditions import compile_condition
from aedist.explore.expression import Term, printable
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing


@dataclass(frozen=True)
class Group:
    """The images of a term."""

    term: Term
    sample_ids: tuple[int, ...]
    looked_at: int
    """How many samples of the split were looked at."""


def find_groups(
    store: ShardStore, terms: Sequence[Term], text: str, most: int, say: Callable[[str], None] = say_nothing
) -> list[Group]:
    """The first ``most`` images of each term's group, or all where there are fewer; one pass over the split.

    Args:
        store: the split in which to look.
        terms: of the expression.
        text: the expression, for errors.
        most: how many images a group has at most.
        say: told how far it is, now and then, and how many images each group has.

    Raises:
        UserError: if a name is unknown, a group is empty, or ``most`` is not positive.
    """
    if most < 1:
        raise UserError(f"--images: {most} is refused: it must be 1 or more")
    index = store.index
    tests = [compile_condition(term.condition, index, text) for term in terms]
    found: list[list[int]] = [[] for _ in terms]
    looked_at, progress = 0, now_and_then(say)
    while looked_at < index.num_samples and any(len(ids) < most for ids in found):
        label = store.label(looked_at)
        # where the index names no attributes, others' .json may hold anything
        attributes = store.attributes(looked_at) if index.attributes else {}
        for ids, test in zip(found, tests, strict=True):
            if len(ids) < most and test(label, attributes):
                ids.append(looked_at)
        looked_at += 1
        progress(f"looked at {looked_at:,} of {index.num_samples:,}")
    for term, ids in zip(terms, found, strict=True):
        if not ids:
            raise UserError(
                f"expression: no image is {printable(term.text)}, of {looked_at:,} looked at in "
                f"{index.name}/{index.split}; write a wider condition, or name another --split"
            )
    for term, ids in zip(terms, found, strict=True):
        sign = "+" if term.sign > 0 else "-"
        say(f"{sign} {printable(term.text)}: {len(ids):,} images (of {looked_at:,} looked at)")
    return [Group(term, tuple(ids), looked_at) for term, ids in zip(terms, found, strict=True)]
