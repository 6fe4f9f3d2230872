"""The audit trail: its entries and its seals."""
