"""The request log on the way of a request: what a record says, and how it becomes durable before the answer."""
