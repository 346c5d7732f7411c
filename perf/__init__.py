"""Benchmarks: one question each, on a fixed input. Counted work gates; times are recorded, never asserted."""
