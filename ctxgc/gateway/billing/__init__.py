"""What the provider billed for a reply."""
