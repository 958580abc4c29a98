"""From bytes to the input of the network: reading, pixel formats, levels, resizing, preparation, depth."""
