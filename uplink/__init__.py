"""Pure decisions about the uplink: no await, no clock, no I/O."""
