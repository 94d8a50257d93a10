"""Plugins that come with autotune; they import only what guests may import."""
