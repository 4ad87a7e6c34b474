"""Variable tracking: chains of assignments somewhere in filler sentences."""
