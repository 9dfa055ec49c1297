"""Single faults by strength and domain: what a model mends, beside what a one-line filter does."""
