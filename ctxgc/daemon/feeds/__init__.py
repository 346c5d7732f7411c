"""Transcripts on their way into sessions: imports, and files followed as they grow."""
