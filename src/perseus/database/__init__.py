"""Exchanges, admins, tokens, sessions and the audit trail, in SQLite or PostgreSQL."""
