"""The socket: a daemon's connections, calls and events."""
