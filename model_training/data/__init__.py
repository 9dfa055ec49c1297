"""Photos, drawings, degradations, and the batches made of them."""
