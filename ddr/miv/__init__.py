"""Mandatory Interoperable Values as data: packages and their loader."""
