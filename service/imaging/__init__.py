"""Pixels: bytes to photos and back, sizes, and carrying a change to full size."""
