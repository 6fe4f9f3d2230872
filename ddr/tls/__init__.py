"""TLS contexts, the allow list, and the client certificate of a connection."""
