"""What patients see: login, consent and their own pages."""
