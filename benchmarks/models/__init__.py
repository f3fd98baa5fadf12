"""Models: source models, architectures, published networks and classical methods beside them."""
