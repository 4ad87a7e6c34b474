"""The commands of `rope-scaling`, a file each; they import what they need as they run: `--help` must not load torch."""
