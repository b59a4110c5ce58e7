"""How much memory this process takes."""

import os
import resource
import sys
from pathlib import Path


def own_bytes() -> int | None:
    """What of this process lies in the host's memory now; where the system does not say, the most that ever did."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
