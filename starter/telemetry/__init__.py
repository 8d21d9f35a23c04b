"""Traces and metrics of our programs, and how a program exits."""
