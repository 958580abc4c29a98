"""From camera bytes to network input: reading, pixel formats, levels, resizing, preprocessing, depth."""
