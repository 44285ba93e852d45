"""The engine: operations, the tape and its walk, Tensors. Read `op`, `tape` and `tensor`, in that order."""
