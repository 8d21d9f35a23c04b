"""Steps: each is one transaction or one call to the outside, registered with Temporal under its kebab-case name."""
