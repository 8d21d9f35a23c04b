"""The shop: its rules, tables and adapters. Knows nothing of Temporal."""
