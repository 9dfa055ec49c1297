"""What operations see: metrics and logs."""
