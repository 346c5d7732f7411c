"""What people and agents talk to. Every front is a client of the daemon."""
