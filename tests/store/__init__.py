"""The connection and the scripts, on Valkey 9 and on Redis 7."""
