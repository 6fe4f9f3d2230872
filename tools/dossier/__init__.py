"""The dossier of a release: its requirements, their proof in this very run, its risks, its parts."""
