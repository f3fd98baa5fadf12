"""Image sets as users have them: their files, scenes, pairs, chips and value ranges."""
