"""Formats: bytes of transcripts and requests to segments, and segments back to requests."""
