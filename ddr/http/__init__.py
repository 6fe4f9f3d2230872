"""What every HTTP room shares: bodies with limits, replies, the ASGI shape. Knows no endpoint."""
