"""Readings for research without identifiers: approvals, weeks, rules against singling out, tables. No I/O."""
