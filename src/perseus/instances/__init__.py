"""The producer: one process able to serve one exchange. Start reading at `run.py`."""
