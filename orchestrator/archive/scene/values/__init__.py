"""Values of a scene: through the network and back to their own data type, and the range that they are taken in."""
