"""The dossier for a quality system: what a release is and was tested for, and what an installation of it runs with."""
