"""A learned density of images: a normalizing flow of their patches, its files, and how it is fitted."""
