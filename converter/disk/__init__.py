"""Bytes on the disk: output that appears whole or not at all, and copying."""
