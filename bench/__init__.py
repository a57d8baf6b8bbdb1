"""Time s3rolefs and its peers side by side, on one server, in one run."""
