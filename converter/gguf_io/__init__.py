"""GGUF as a file: one reader, bounded in time and memory, and the writer."""
