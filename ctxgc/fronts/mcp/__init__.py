"""The MCP server of one agent: a model searches and recalls this project's sessions by tools of its own."""
