"""What a run leaves behind: checkpoints, provenance, averages."""
