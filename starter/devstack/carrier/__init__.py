"""The embedded carrier: a small copy of EasyPost's shipments API that can inject faults."""
