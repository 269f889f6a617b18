"""What commands set up from their config: data, weights, sizes, lengths, memory, devices, the run directory."""
