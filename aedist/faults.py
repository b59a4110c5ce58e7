"""Faults that are nobody's bug get one line; all others keep their traceback.

A lost process, a machine's memory, a killed loader worker: they reach the main thread as errors of whatever library it
was in at that moment. What really happened the watch knows, or the error's words.
"""

import re
from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from aedist.errors import EXIT_FAULT, EXIT_USER_ERROR, Fault, Interrupted, LeftOut, UserError
from aedist.notes import AGAIN
from aedist.watch import Watch

_PATIENCE_SECONDS = 2.0
_TRANSPORT = re.compile(r"gloo|NCCL|TCPStore|Connection (reset|closed|refused)|Broken pipe|Timed out waiting")
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|Cannot allocate memory|CUDA out of memory")
_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) ([^.]*)")


@contextmanager
def told_in_a_line(watch: Watch) -> Generator[None]:
    """While it lasts, such faults become a ``Fault``; the other processes hear of every end at once.

    Raises:
        Fault: in place of the library's error.
    """
    try:
        yield
    except LeftOut:
        raise
    except Interrupted:
        watch.over()
        raise
    except UserError:
        watch.closing(EXIT_USER_ERROR)
        raise
    except Fault as fault:
        watch.closing(fault.code)
        raise
    except Exception as error:
        fault = _fault(error, watch)
        watch.closing(fault.code if fault else EXIT_FAULT)
        if fault is None:
            raise
        raise fault from None
    except BaseException:
        watch.closing(EXIT_FAULT)
        raise


def _fault(error: Exception, watch: Watch) -> Fault | None:
    words, where = " ".join(str(error).split()), watch.where()
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or _NO_MEMORY.search(words):
        device = "the GPU's memory" if isinstance(error, torch.OutOfMemoryError) else "memory"
        return Fault(
            f"{device} does not suffice, in {where} ({words[:200] or type(error).__name__}); lower data.workers or "
            f"data.memory, take data.mode=stream, share a step among more processes on more machines, or, in another "
            f"run.dir, lower batch.micro and raise batch.num_micro; {AGAIN}"
        )
    worker = _WORKER.search(words)
    if worker is not None:
        return Fault(
            f"a loader worker (process {worker[1]} of the system) {worker[2]}, in {where}; where nobody killed it, "
            f"memory or shared memory ran out: lower data.workers; {AGAIN}"
        )
    if isinstance(error, dist.DistError) or _TRANSPORT.search(words):
        end = watch.end(_PATIENCE_SECONDS)
        if end is not None:
            return Fault(f"{end.line}; this process was in {where}; {AGAIN}", end.code)
        return Fault(f"the connection to the other processes is lost, in {where} ({words[:300]}); {AGAIN}")
    return None
