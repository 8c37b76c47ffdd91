"""The ensemble in fused kernels over slot-indexed state, in captured CUDA graphs."""
