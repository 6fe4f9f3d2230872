"""How many examples a state machine of hypothesis tries: few in CI, and as many as DDR_MACHINE_EXAMPLES says elsewhere.

In CI the examples are the same in each run. A longer search should try new ones each time, and shrink what it finds,
which takes longer than a test's time limit.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings

WANTED = "DDR_MACHINE_EXAMPLES"
LONG = WANTED in os.environ
limited = pytest.mark.timeout(0 if LONG else 300)  # for the test that runs the machine


def budget(examples: int, steps: int = 15) -> settings:
    """The settings of a machine that tries this many examples in CI, each with at most this many steps."""
    return settings(
        max_examples=int(os.environ.get(WANTED, str(examples))),
        phases=tuple(Phase) if LONG else (Phase.generate,),
        stateful_step_count=steps,
        deadline=None,
        derandomize=not LONG,
        suppress_health_check=list(HealthCheck),
    )
