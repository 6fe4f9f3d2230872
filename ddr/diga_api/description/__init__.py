"""The interface for DiGA as an OpenAPI 3.1 description: written by hand, except what the server has in tables."""
