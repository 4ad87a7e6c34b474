"""Tasks handed to an inference engine that serves the scaled checkpoint, instead of a model of Transformers."""
