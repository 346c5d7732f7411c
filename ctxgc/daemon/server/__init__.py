"""The socket: one daemon, its connections, the calls they make, the events they hear."""
