"""Replay: the cost of a collector on recorded sessions, and the segments missed. No model is asked."""
