"""The front ends for people and agents. Every front is a client of the daemon."""
