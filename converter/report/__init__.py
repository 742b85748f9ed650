"""What is in a file, as words, text, JSON and a page."""
