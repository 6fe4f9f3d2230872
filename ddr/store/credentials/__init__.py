"""Credentials of machines: who answers for each, what it is for, until when, and when it was last used."""
