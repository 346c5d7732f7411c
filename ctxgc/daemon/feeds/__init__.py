"""Transcripts and bundles on their way into sessions and out: imports, exports, and files followed as they grow."""
