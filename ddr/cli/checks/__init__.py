"""The checks of `ddr check` from outside, one subject per file."""
