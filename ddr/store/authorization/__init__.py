"""Pushed requests, pairings, grants, the access decision's statement, signing keys."""
