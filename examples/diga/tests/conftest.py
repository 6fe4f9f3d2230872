"""A real recorder for the tests: this line is all."""

pytest_plugins = ["ddr.client.testing"]
