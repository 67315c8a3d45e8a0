"""Engines turn requests into programs: one function each, same records in and out."""
