"""Python imports this by itself where this folder is on its path: training goes slowly until a file appears.

So a test finds a run in the middle, however fast the machine, and burns no time: the first steps are quick, later ones
take two seconds each, and with the file none waits. It wraps the update of the training loop as soon as that is
imported.
"""

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType

QUICK_STEPS = 30
SECONDS_A_STEP = 2.0


class SlowedLoop(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the loop's module as usual, and changes what was found."""

    def find_spec(self, name, path=None, target=None):
        if name != "aedist.training.loop":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        update, go_on = module._update, Path(os.environ["SLOWED_UNTIL"])

        def slow(run, parameters):
            if not go_on.exists():
                time.sleep(SECONDS_A_STEP if run.state.progress.step >= QUICK_STEPS else 0.02)
            return update(run, parameters)

        module._update = slow


if "SLOWED_UNTIL" in os.environ:
    sys.meta_path.insert(0, SlowedLoop())
