"""Runs the worker."""
