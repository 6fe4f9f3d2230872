"""Continuous series: appending, merging, cutting anew, ending, taking back."""
