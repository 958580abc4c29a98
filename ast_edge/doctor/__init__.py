"""What this machine has for inspection beside the line, what it lacks, and how to mend that.

Each module looks at one field; `ast_edge.doctor.examining.examine` runs every look.
"""
