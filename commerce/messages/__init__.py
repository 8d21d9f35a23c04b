"""The models that processes, steps, HTTP and the command line exchange, one noun per module."""
