"""The request log within a request: what a record says, and how it becomes durable before the answer."""
