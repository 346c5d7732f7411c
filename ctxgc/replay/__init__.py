"""Replay: what a collector would have cost on recorded sessions, and what it would have missed. No model is asked."""
