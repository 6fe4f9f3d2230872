"""The conformance kit: checks of any recorder from outside, with evidence. Knows nothing of our server.

docs/conformance-kit.md is the way through; `ddr conform` runs it.
"""
