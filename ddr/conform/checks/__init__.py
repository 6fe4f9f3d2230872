"""The checks, one subject per file; ddr.conform.check.MODULES defines the order in which they run."""
