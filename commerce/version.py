"""The version of this program, by which it announces itself to other systems."""

from importlib.metadata import version

NAME = "durable-commerce"
VERSION = version(NAME)
