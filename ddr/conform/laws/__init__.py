"""The rules that checks apply, as pure functions: resources and responses in, faults out."""
