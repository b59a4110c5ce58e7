"""What a trained model is worth: the evaluation pass and its metrics."""
