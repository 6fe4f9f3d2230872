"""The recorder and the furnished home of the black-box tests, for other people's clients."""

from __future__ import annotations

from tests.spec.conftest import ddr, scene

__all__ = ["ddr", "scene"]
