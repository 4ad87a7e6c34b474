"""Many schemes asked many tasks: what is asked, in which units, when it is enough, and what the record says of it."""
