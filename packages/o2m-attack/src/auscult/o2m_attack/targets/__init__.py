"""Models under test: with gradients (white box) or with replies alone."""
