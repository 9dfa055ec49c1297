"""The same pixels' work behind this service and behind the servers that one would otherwise pick, in one run."""
