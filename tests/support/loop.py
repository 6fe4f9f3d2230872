"""The event loop of the session's fixtures, for tests that are not coroutines: state machines of hypothesis."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]


@dataclass
class Loop:
    """`run` is the running loop's `run_until_complete`."""

    run: Run[Any]
