"""voxfleet-agent, whose lanes are `mortal_worker`s.

They run unconfined: a confined lane can neither read its orders nor end the agent.

python mortal_agent.py ORDER_FILE serve --config FILE
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

from voxfleet_agent.lanes import pools
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.main import main

WORKER = Path(__file__).with_name("mortal_worker.py")

if __name__ == "__main__":
    order_file = sys.argv.pop(1)
    mortal = functools.partial(ProcessLane, worker=(sys.executable, str(WORKER), order_file))

    def without_bounds(*words: Any, confinement: object, **named: Any) -> ProcessLane:
        return mortal(*words, **named)

    setattr(pools, "ProcessLane", without_bounds)  # noqa: B010 - the name of a class, bound anew
    main()
