"""The conformance kit: checks of any recorder from outside, with evidence. It knows nothing of our server.

docs/conformance-kit.md is the guide; `ddr conform` runs it.
"""
