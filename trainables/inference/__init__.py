"""A network on whole images: precision, tiles, memory, speed."""
