"""One module a server: each serves `benchmarks.peers.work` on the port it is given, with that server's own advice."""
