"""The FHIR door: Bundles as HL7's Personal Health Device guide describes them, mapped to the bodies of the JSON API."""
