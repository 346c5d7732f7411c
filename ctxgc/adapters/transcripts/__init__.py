"""Transcripts: the logs that hosts write, read only."""
