"""Parts of processes, for one process that would be too long, or for several."""
