"""The same chunks on another FHIR server, for comparison; a development tool, never needed to run or test anything."""
