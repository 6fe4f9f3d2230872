"""The request log as a whole: its seals, its retention, what is handed out of it and how that is proven."""
