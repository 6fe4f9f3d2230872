"""Measurements of the tests themselves, too slow for CI: what they reach, and which faults they find."""
