"""When to collect and how deep, by the provider's prices and cache, within what a session may lose by it."""
