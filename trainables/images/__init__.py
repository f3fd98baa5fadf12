"""From encoded bytes to pixels, and from images to training patches."""
