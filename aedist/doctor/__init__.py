"""The doctor: this machine's facts with a verdict each, and a proof that processes work together on it.

A fact is read by one function and judged by another, which is pure. The proof is real processes that train small
models through the parts of the training loop and compare what they got.
"""
