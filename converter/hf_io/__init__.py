"""What a Hugging Face folder holds, written without the packages that read it."""
