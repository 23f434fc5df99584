"""The door for browsers and programs: tRPC API, guard, health checks, Admin UI."""
