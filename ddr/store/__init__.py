"""PostgreSQL: migrations, one repository per aggregate, the embedded server."""
