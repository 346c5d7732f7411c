"""The parts of `ctxgc install`: edits of agents' settings that can be taken back, and services of the user's
manager."""
