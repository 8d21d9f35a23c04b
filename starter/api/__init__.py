"""The shop's processes over HTTP."""
