"""Accounts and browsers of patients, their view of their data, its export and its end."""
