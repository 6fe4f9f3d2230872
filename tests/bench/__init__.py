"""`make bench`: figures of the recorder as ratios within one run; a measurement never fails, a broken promise does."""
