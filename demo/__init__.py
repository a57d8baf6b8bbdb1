"""Show s3rolefs on a machine without AWS: `make demo`."""
