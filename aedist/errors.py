"""The two ways a command ends early on purpose, each with its own exit code.

A ``UserError`` is a mistake in what the user wrote or gave: one line that names the key or file, its value,
the rule and the fix (exit code 2, no traceback). ``Interrupted`` means the run was asked to stop and is
safely checkpointed (exit code 75: start me again). Anything else is a fault and keeps its traceback.
"""

from collections.abc import Generator
from contextlib import contextmanager
from os import PathLike

EXIT_FAULT = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 75


class UserError(Exception):
    """A mistake of the user's, told in one line. Several mistakes may be told in one line each."""


class ToldByRankZero(UserError):
    """A mistake that every process knows of: rank zero tells it, the others end silently."""


class FoundByOne(UserError):
    """A mistake that the process which came upon it tells, since perhaps no other does."""


class DataDamage(FoundByOne):
    """Shards or images that cannot be used."""


class CannotWrite(FoundByOne):
    """A run's file that the disk does not take."""

    @classmethod
    @contextmanager
    def instead_of_os_errors(cls, path: str | PathLike[str], what: str = "", so: str = "") -> Generator[None]:
        """While it lasts, what the system says of the file becomes this.

        Args:
            path: the file.
            what: what it is, if that needs to be said.
            so: what follows.

        Raises:
            CannotWrite: in one line.
        """
        try:
            yield
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
            raise cls(f"{path}: {what}{' ' * bool(what)}{reason}{so}; make room and start again") from error


class Interrupted(Exception):
    """The run stopped at a step boundary because it was asked to, with a checkpoint behind it."""


class Fault(Exception):
    """What ends a run and is nobody's bug, told in one line: a lost process, no memory, a killed loader worker."""

    def __init__(self, line: str, code: int = EXIT_FAULT) -> None:
        super().__init__(line)
        self.code = code


class LeftOut(Exception):
    """Work that is given up, because the run was asked to stop; it is done when the run goes on."""
