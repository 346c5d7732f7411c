"""The hidden recall tool: apart from the rest, behind the one door of `service.py`."""
