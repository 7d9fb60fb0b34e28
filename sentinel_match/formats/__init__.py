"""Files that others read, and files of others."""
