"""Pairs of images that differ in one attribute alone: the ground truth of latent arithmetic.

Two samples with the same number in the attribute ``pair`` show the same thing but for one attribute, which one of
them has and the other has not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from aedist.data.store import ShardStore
from aedist.errors import UserError
from aedist.progress import now_and_then
from aedist.tracking.console import say_nothing

_PAIR = "pair"


@dataclass(frozen=True)
class Pairs:
    """The whole pairs of a split, in the order of their first samples."""

    without: tuple[int, ...]
    """Sample ids of the images without the attribute."""
    having: tuple[int, ...]
    """Sample ids of their partners."""
    unpaired: int
    """Samples whose partner is not in the split."""


def find_pairs(store: ShardStore, attribute: str, most: int, say: Callable[[str], None] = say_nothing) -> Pairs:
    """The pairs of a split that differ in ``attribute``, at most the first ``most``; ``say`` is told how far it is.

    Raises:
        UserError: if the data has no pairs, or none that differ in the attribute, or a pair has more than two samples.
    """
    index = store.index
    where = f"{index.name}/{index.split}"
    if index.attributes.get(_PAIR) != "int":
        raise UserError(
            f"--measure: {where} has no pairs: two images with the same whole number in the attribute {_PAIR}, which "
            f"differ in one attribute alone; take data that has them, such as aedist shards build portraits"
        )
    if index.attributes.get(attribute) != "bool":
        there = ", ".join(name for name, kind in index.attributes.items() if kind == "bool") or "none"
        raise UserError(f"--measure: {where} has no true or false attribute {attribute!r}; take one of {there}")
    members = dict[int, list[tuple[int, bool]]]()
    progress = now_and_then(say)
    for sample_id in range(index.num_samples):
        progress(f"looked at {sample_id:,} of {index.num_samples:,}")
        attributes = store.attributes(sample_id)
        if _PAIR in attributes and attribute in attributes:
            members.setdefault(int(attributes[_PAIR]), []).append((sample_id, bool(attributes[attribute])))
    without, having, unpaired = list[int](), list[int](), 0
    for number, found in members.items():
        if len(found) > 2:
            raise UserError(f"--measure: {where} has {len(found)} samples of {_PAIR} {number}; a pair has two")
        if len(found) == 1:
            unpaired += 1
            continue
        (one, one_has), (other, other_has) = found
        if one_has != other_has:
            without.append(other if one_has else one)
            having.append(one if one_has else other)
    if not without:
        raise UserError(f"--measure: no pair of {where} differs in {attribute}; name the attribute in which pairs do")
    return Pairs(tuple(without[:most]), tuple(having[:most]), unpaired)
