"""Augmentations of uint8 batches; all random draws are made beforehand, per image."""
