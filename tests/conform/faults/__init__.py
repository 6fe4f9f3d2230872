"""Faults of recorders, one at a time, and the check of the kit that has to find each."""
