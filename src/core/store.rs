//! Objects under one URL: a folder or a prefix in an S3 bucket.
