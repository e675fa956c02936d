"""The optimisers: GCG of the suffix, PGD of the image, and MCM, which takes the better of both."""
