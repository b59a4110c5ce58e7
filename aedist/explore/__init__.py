"""What encodings are good for: reconstruct, sample, interpolate, traverse, and arithmetic with groups of images.

Each use is a function from a trained run (``aedist.trained.open_trained``) to a picture and its numbers, which writes
nothing; ``write_outcome`` does. Whatever is random in them has a seed.
"""

from aedist.explore.arithmetic import arithmetic
from aedist.explore.interpolate import interpolate
from aedist.explore.measure import measure_attribute
from aedist.explore.reconstruct import reconstruct
from aedist.explore.record import check_name, write_outcome
from aedist.explore.sample import sample
from aedist.explore.traverse import traverse

__all__ = [
    "arithmetic",
    "check_name",
    "interpolate",
    "measure_attribute",
    "reconstruct",
    "sample",
    "traverse",
    "write_outcome",
]
