"""Training: from two folders of photos to a generator the service can load."""
