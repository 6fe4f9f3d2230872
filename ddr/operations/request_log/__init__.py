"""The request log as a whole: its seals, its retention, its exports and their proof."""
