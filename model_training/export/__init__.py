"""From a checkpoint to a model that the service takes."""
