"""What ``jit`` runs: a call traced to a program, the program fused into loops, the loops as machine code."""
