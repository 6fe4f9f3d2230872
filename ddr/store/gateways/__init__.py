"""Who sends: tokens, certificates of bridges, repeated requests."""
