"""A real recorder for the tests: the line with pytest_plugins is all that it takes."""

import pytest

pytest_plugins = ["ddr.client.testing"]


@pytest.fixture(scope="session")
def grace_seconds() -> None:
    """The registered Grace-Period, to meet it; the clock is moved past it."""
