"""What this machine has for inspection on the line, what it lacks, and how to fix that.

Each module looks at one field; `ast_edge.doctor.examining.examine` runs every look.
"""
