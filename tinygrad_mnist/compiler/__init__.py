"""The compiler behind ``jit``: a call becomes a program, the program loops, the loops machine code."""
