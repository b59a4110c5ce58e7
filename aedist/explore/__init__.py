"""What encodings are good for: reconstruct, sample, interpolate, traverse, and arithmetic with attributes."""
