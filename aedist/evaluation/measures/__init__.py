"""What can be measured: of single images, of sets of images, of encodings, and of what any model must beat.

Pure functions of arrays. Each file defines its numbers in a ``DEFINITIONS``, which becomes part of every record.
"""
