"""Arithmetic on float32: encodings, the change of a LoRA pair, statistics."""
