"""Shards of a data set: their structure, their index, writing them, describing others', checking them."""
