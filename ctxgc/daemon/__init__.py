"""The process that owns state: sockets, sessions, transcripts, the stash."""
