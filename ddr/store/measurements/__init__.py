"""Dedicated measurements and their former versions."""
