"""Adapters to the outside: carrier, mail, alerts."""
