"""Facts of tool calls: files, commands, attempts."""
