"""HTTP: routes, schemas, problem details, limits, keys and the page."""
