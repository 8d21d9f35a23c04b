"""The console: the shop on a screen, for operators. Server-rendered pages at `/console` of the API."""
