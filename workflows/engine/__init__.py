"""The engine under every process: saga and job, how steps are called, cancellation, alerts, search attributes."""
