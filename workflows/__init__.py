"""One process per file. A workflow decides which step comes next; it does no I/O."""
