"""What an evaluation's numbers mean: a word each, the reason, the next thing to try. Pure functions of the record."""
