"""One writer at a time: a folder that is being written is locked, and whoever comes second is told by whom.

The lock is the kernel's, on a file in the folder, so that it ends with the process that holds it, however that ends.
"""

import fcntl
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from aedist.errors import UserError

LOCK_NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold ``folder``, which is made if it is not there, against every other writer.

    Raises:
        UserError: if another process holds it, naming that process; or if the folder cannot be written.
    """
    path = folder / LOCK_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); make room or rights") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            raise UserError(
                f"{folder}: is being written by {holder}; wait for it, or build into another folder"
            ) from None
        if not path.exists() or not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise UserError(f"{folder}: was finished by another process just now; run the command again")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # while it is held: whoever opened it in the meantime sees that it is gone
            with suppress(OSError):
                folder.rmdir()  # if nothing came of it
