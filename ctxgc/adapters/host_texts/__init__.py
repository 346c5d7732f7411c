"""Host texts: texts that an agent writes in the user's name, kept apart from a person's words."""
