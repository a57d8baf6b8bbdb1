"""POSIX on top of keys: inodes, directories, readers, writers, rename. No FUSE, no AWS."""
