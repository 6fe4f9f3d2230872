"""How long a state machine of hypothesis looks: little in CI, and as long as DDR_MACHINE_EXAMPLES says.

In CI the examples are the same in each run; whoever looks for longer wants others each time, and what is found made
small, which takes longer than the time limit of a test.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

WANTED = "DDR_MACHINE_EXAMPLES"
LONG = WANTED in os.environ
limited = pytest.mark.timeout(0 if LONG else 300)  # for the test that runs it


def budget(examples: int, steps: int = 15) -> settings:
    """The settings of a machine that looks at so many examples in CI, each of so many steps at most."""
    return settings(
        max_examples=int(os.environ.get(WANTED, str(examples))),
        phases=tuple(Phase) if LONG else (Phase.generate,),
        stateful_step_count=steps,
        deadline=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )
