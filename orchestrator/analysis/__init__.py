"""How far each target domain lies from the source, and what that advises a search."""
