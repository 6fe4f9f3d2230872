"""The checks, one matter per file; ddr.conform.check.MODULES says in which order they run."""
