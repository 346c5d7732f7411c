"""Whose request it is: the agent's session, and which branch of it."""
