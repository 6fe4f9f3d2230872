"""The interface for DiGA as an OpenAPI 3.1 description: written by hand but for what the server has tables of."""
