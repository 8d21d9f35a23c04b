"""`commerce demo`: a sample shop processed before your eyes."""
