"""The vocabulary in which the layouts are written."""
