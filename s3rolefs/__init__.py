"""Mount Amazon S3 as a file system whose access comes from an IAM role."""

__version__ = "0.1.0"
