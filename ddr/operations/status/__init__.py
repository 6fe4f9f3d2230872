"""The status feed: what works, what does not, and what will not, for machines, people and subscribers (OPS-008)."""
