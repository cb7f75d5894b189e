"""Figures, a module each: data class, compute, draw and build."""
