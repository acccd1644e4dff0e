"""What every store does alike, and what is built on the interface alone."""
