"""What enters a window smaller than the host sent it: pointers to lines in the window, and shortened results."""
