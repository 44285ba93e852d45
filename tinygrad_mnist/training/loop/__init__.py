"""The loop: any model, its batches, steps and evaluations, and the callbacks that are told."""
