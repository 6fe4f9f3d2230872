"""The soak: everything at once for as long as one likes, and a report of what did not hold (`make soak`)."""
