"""What the project's makers run: environments, locked requirements, the bill of materials, releases."""
