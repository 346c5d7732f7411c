"""What a tool call says about files and commands."""
