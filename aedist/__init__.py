"""aedist: distributed training of autoencoders and VAEs from WebDataset shards."""
