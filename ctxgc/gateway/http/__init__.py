"""The gateway's HTTP: who may ask, which upstream serves a request, and bytes both ways as streams."""
