"""Coverage-guided fuzzing with atheris; ``python tests/fuzz/run.py --seconds N`` runs all of it."""
