"""Models in service: loaded, verified, leased to requests."""
