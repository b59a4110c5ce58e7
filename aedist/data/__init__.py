"""From shards to micro-batches: the plan, the store, decoding, loading."""
