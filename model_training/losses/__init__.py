"""The losses of every objective, and of restoration."""
