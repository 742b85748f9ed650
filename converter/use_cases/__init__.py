"""What can be done with a checkpoint: one function each."""
