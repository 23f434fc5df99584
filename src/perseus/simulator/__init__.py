"""Stand-in exchanges which speak the real protocols, so that everything can be tried without an account or a network.

Start with `server.serve`. Nothing here imports our adapters: a misunderstanding shared by both would hide.
"""
