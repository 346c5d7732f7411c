"""HTTP: requests in and out, replies back. The HTTP library is imported nowhere else."""
