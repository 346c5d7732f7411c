"""The session of a request: the agent's own name for the session, and the branch that the request continues."""
