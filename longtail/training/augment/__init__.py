"""Augmentations of uint8 batches; every draw is made beforehand, image by image."""
