"""Alerts: what happened, told to people. Rules are pure; `notifier.py` is where to start reading."""
