"""From the record of an evaluation to a page that is read without the machine that made it."""
