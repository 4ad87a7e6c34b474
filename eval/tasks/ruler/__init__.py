"""RULER's own tasks as lm-eval has them, offline and at the lengths asked for."""
