"""The heart of Difficulty-Net: its network, and the exact meta-gradient by one tangent pass."""
