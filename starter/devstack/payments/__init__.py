"""The embedded payment provider: a small copy of Stripe's API that can inject faults."""
