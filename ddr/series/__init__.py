"""Continuous series as pure arithmetic: chunks, slots, status rules, packing. No I/O."""
