"""The embedded warehouse: the stock API that a real warehouse implements, with faults that can be injected."""
