"""What can be made of a snapshot: one module for each form."""
