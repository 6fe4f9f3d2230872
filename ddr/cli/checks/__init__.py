"""What `ddr check` looks at from outside, one matter per file."""
