"""How fast aedist is, beside its limits and its peers: one command, tables, and tests/benchmarks/RESULTS.md.

    python tests/benchmarks/speed.py [SUBJECT ...] [--photos DIR] [--digits DIR] [--faces DIR]

Subjects: reader, resident, training, scaling, start, gpu; all of them if none is named. Each runs in a process of its
own, so that none meets another's threads or memory.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import machine
from material import Material, cache_folder, drawn, from_shards
from tables import Table, section, write_section

SUBJECTS = ("reader", "resident", "training", "scaling", "start", "gpu")
_ROOT = Path(__file__).parents[2]


def main() -> None:
    arguments = _arguments()
    if len(arguments.subjects) == 1:
        _measure(arguments.subjects[0], arguments)
        return
    options = [*(word for word in sys.argv[1:] if word not in SUBJECTS), f"--load={machine.load()}"]
    failed = list[str]()
    for subject in arguments.subjects:
        print(f"\n{subject}", file=sys.stderr)
        if subprocess.run([sys.executable, __file__, subject, *options], check=False).returncode:
            failed.append(subject)
    if failed:
        sys.exit(f"did not work: {', '.join(failed)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How fast aedist is, beside its limits and its peers.")
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; all if left out")
    parser.add_argument(
        "--photos", type=Path, help="64x64 JPEGs in WebDataset tars, DIR/train/*.tar; drawn if left out"
    )
    parser.add_argument("--digits", type=Path, default=_ROOT / "shards" / "mnist", help="shards of MNIST")
    parser.add_argument("--faces", type=Path, default=_ROOT / "shards" / "portraits", help="shards of 256x256 images")
    parser.add_argument("--repeats", type=int, default=5, help="how often each thing is measured")
    parser.add_argument("--load", type=float, help=argparse.SUPPRESS)  # before the first of several subjects
    parser.add_argument("--small", action="store_true", help="much less of everything: only whether it works")
    parser.add_argument("--no-peers", action="store_true", help="install and measure no other library")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("RESULTS.md"), help="where to write")
    arguments = parser.parse_args()
    unknown = set(arguments.subjects) - set(SUBJECTS)
    if unknown:
        parser.error(f"no such subject: {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    arguments.subjects = arguments.subjects or list(SUBJECTS)
    if arguments.small:
        arguments.repeats = min(arguments.repeats, 2)
    return arguments


def _measure(subject: str, arguments: argparse.Namespace) -> None:
    begun = time.perf_counter()
    before = machine.load() if arguments.load is None else arguments.load
    tables = _tables(subject, arguments)
    told = machine.circumstances(before, machine.load(), time.perf_counter() - begun)
    if arguments.small:
        told += " **A trial at small size: its numbers mean nothing.**"
    text = section(subject, tables, told)
    print(text)
    write_section(arguments.out, subject, text)


def _tables(subject: str, arguments: argparse.Namespace) -> list[Table]:
    repeats, small = arguments.repeats, arguments.small
    photos, large, digits = _photos(arguments), drawn("drawn256", 256, 1000, cache_folder()), _digits(arguments)
    faces = from_shards("faces", arguments.faces, cache_folder()) if arguments.faces.is_dir() else None
    if subject == "reader":
        from reader import tables

        return tables(
            [one for one in (photos, digits, large, faces) if one], repeats, with_peers=not arguments.no_peers
        )
    if subject == "resident":
        from resident import tables

        return tables([one for one in (digits, photos, large) if one], repeats)
    if subject == "training":
        from training import tables

        return tables(digits, photos, faces or large, repeats, small=small)
    if subject == "scaling":
        from scaling import tables

        return tables(photos, repeats, small=small)
    if subject == "start":
        from start import tables

        return tables(digits, repeats, small=small)
    from gpu import tables

    return tables(digits, photos, faces or large, small=small)


def _photos(arguments: argparse.Namespace) -> Material:
    if arguments.photos:
        return from_shards("photos", arguments.photos, cache_folder())
    return drawn("drawn64", 64, 10_000, cache_folder())


def _digits(arguments: argparse.Namespace) -> Material:
    if not arguments.digits.is_dir():
        sys.exit(f"{arguments.digits}: there are no digits; build them with 'aedist shards build mnist'")
    return from_shards("digits", arguments.digits, cache_folder())


if __name__ == "__main__":
    main()
