"""Tools for the project's maintainers: environments, locked requirements, the bill of materials, releases."""
