"""The embedded carrier: EasyPost's shipments API in small, with faults to order."""
