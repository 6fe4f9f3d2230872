"""A DiGA with many pairings, polled by `Watch` in two processes, while everything around it fails."""
