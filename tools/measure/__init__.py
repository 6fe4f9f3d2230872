"""Measurements of the tests themselves, too long for CI: what they reach, and which faults they find."""
