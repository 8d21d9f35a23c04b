"""The models that cross process borders, by noun: inputs and results of processes and steps."""
