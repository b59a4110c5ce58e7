"""Where a run's records go: metrics.jsonl always, the console and W&B as sinks."""
