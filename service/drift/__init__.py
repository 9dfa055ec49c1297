"""Drift: the measures that are watched, their reference, and how far a window of photos is from it."""
