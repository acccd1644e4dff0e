"""Reading and writing tar archives, plain and compressed."""
