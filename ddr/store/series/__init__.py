"""Continuous series: uploads, appending, merging, cutting anew, ending, taking back."""
