"""The vocabulary that a model was trained with: read from a file, and found beside a checkpoint."""
