"""FHIR R4 as data: resource forms in JSON and XML, search grammar, bundles, outcomes."""
