"""ONNX: a recorded forward pass written as a graph of ONNX's operators.

The way of a model through this folder::

    recording     run the model on two batches of different sizes, and note each operation
    program       compare the two: what differs follows from the batch size, and becomes a symbol
    builder       write the nodes, each by the converter of its operation
    save          check the file, run it beside the model, and put it in its place

Converters stand in a table by the name of their operation, a family a file, as in `tinygrad_mnist.ops`.
"""
