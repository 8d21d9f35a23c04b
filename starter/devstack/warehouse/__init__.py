"""The embedded warehouse: the stock API that a real warehouse implements, with faults to order."""
