"""The consumer: records from the store in, views out. `cards.py` and `feed.py` conclude without I/O, the rest reads."""
