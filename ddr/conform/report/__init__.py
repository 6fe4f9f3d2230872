"""A run as a report: terminal, JSON, HTML, JUnit XML."""
