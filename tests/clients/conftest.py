"""The recorder and the furnished home of the black-box tests, for clients that others wrote."""

from __future__ import annotations

from tests.spec.conftest import ddr, scene

__all__ = ["ddr", "scene"]
