"""The ingestion API of personal health gateways."""
