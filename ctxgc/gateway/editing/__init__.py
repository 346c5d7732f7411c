"""From a request's bytes to the bytes that leave: what it holds, what the daemon evicted, what is spliced."""
