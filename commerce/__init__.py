"""The shop: its rules, its tables, and its adapters to external services. It does not depend on Temporal."""
