"""pyfuse3 on one side, fs on the other; the only place that knows pyfuse3 and errno."""
