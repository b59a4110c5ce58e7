"""``python -m aedist``: the command line, for launchers that start modules."""

from aedist.cli import main

if __name__ == "__main__":
    main()
