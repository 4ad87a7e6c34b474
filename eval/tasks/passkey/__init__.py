"""The passkey task: one number hidden in filler text of an exact length."""
