"""The evaluation as one self-contained HTML file: for a screen, for paper and for a sign-off."""
