"""From shards to micro-batches: the plan, the store, loading."""
