"""The core of Difficulty-Net: the network D, and the exact meta-gradient from one tangent pass."""
