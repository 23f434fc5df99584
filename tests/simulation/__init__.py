"""A deterministic simulation of the network on a virtual clock: see README.md."""
