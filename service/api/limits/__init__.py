"""The limits that requests are held to, one module each."""
