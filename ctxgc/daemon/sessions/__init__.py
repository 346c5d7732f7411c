"""The sessions that are awake: heap, indexes, transactions, collections."""
