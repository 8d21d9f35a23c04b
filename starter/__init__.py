"""What services and operators use to begin, watch and try the shop's processes."""
