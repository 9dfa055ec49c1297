"""The commands of `lamegan-train`, by subject; each one's work is in the module of its subject."""
