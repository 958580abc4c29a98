"""Cameras behind one face: `open_camera(uri)`; each camera library is imported only inside its own module."""
