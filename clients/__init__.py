"""Clients in other languages, and the generator of what they take from the protocol."""
