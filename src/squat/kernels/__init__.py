"""What every compiled loop stands on: `jit`, and the hash of all sources that a compiled function is made from."""
