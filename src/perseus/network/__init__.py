"""The consumer: records from the store in, views out. `observe.py` reads; everything else here is pure."""
