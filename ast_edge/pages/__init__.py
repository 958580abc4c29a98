"""What self-contained HTML pages have in common: style, data, and pictures with maps over them."""
