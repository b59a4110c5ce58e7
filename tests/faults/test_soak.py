"""Row 1 of the catalogue, again and again: ten kills of the soak; ``python tests/faults/soak.py`` does 200."""

from pathlib import Path

from soak import soak


def test_row_1_ten_kills_at_random_moments_on_one_two_and_three_processes_leave_no_trace(tmp_path: Path) -> None:
    soak(tmp_path, kills=10, seed=1)
