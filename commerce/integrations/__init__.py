"""Adapters to external services: carriers, the warehouse, webhooks and the alert webhook."""
