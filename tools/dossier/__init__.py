"""The dossier of a release: what was asked, what proves it in this very run, what can go wrong, what it is made of."""
