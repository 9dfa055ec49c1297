"""Models on disk: the card, finding, verifying, activating and rolling back."""
