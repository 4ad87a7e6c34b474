"""Needles in a haystack: values told under keys somewhere in a long text."""
