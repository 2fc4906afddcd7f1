"""What TensorFlow cannot read where it lies: file systems beyond this machine."""
