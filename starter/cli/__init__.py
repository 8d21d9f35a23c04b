"""The command line `commerce`, one module per group of commands."""
