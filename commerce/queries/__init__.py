"""What operators see: lists and single records, read for the HTTP API and the command line alike.

Every list is read by an index, newest first. The cursor of its next page is the id of the last record of this page.
"""
