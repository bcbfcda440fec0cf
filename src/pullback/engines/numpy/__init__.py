"""The NumPy engine: the reference that the others are held against."""
