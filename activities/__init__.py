"""Activities: each performs or undoes one step, in one transaction or with one call to an external service."""
