"""The FHIR resource server that DiGA backends talk to: one file per interaction."""
