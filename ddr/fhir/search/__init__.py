"""The search grammar of FHIR R4 as far as this recorder supports it: from query text to an immutable query object."""
