"""The Admin UI in a real browser, in front of a real server and a real store."""
