"""What a run is told: its schema, how it is read, and the presets."""
