"""Cameras behind one interface, `open_camera(uri)`; a camera library is imported only in its own module."""
