"""Generators: networks that make images of codes, their files, and how they are trained."""
