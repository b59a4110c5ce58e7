"""What a run would do and need on machines that nobody has asked for yet.

Counts (steps, accumulation, shards, buckets, a pass's memory) come from the code that runs; times come from a model of
the network (``network``) whose constants are printed, and are called predicted.
"""
