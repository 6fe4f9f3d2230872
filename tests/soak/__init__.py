"""The soak: everything at once for any length of time, and a report of what failed (`make soak`)."""
