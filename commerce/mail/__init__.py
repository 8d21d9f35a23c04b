"""Mails: their facts, their rendering, and the SMTP server that takes them."""
