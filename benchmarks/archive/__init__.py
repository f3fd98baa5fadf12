"""Archives: one scene, many scenes, kills."""
