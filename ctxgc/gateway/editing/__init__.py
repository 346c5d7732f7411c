"""Whether a request is edited: its way from the headers to the bytes that leave, in step with the daemon."""
