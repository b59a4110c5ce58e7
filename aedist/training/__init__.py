"""The training loop and what it stands on: state, checkpoints, reductions, interrupts."""
