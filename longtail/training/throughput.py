"""What a training waits for: images a second of the loader beside images a second of the step."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Throughput:
    """Wall times of iterations, since the training began or was taken up again; no result depends on them."""

    images: int = 0
    """In all batches: training images, second views, meta images."""
    loading: float = 0.0
    """Seconds in which the loop waited for them."""
    looping: float = 0.0
    """Seconds of the iterations, with that."""

    def rates(self, decoding_rate: float | None) -> dict[str, float | None]:
        """Images a second of loader and step, and the share of the time in which the step waited, 0..1.

        The loader's is `decoding_rate` where images are decoded, beside the training, and otherwise that at
        which batches were made, within it. None: no iteration was measured.
        """
        stepping = self.looping - self.loading
        if not self.images or not self.loading or stepping <= 0:
            return dict.fromkeys(("loader_images_per_second", "step_images_per_second", "waited"))
        return {
            "loader_images_per_second": decoding_rate or self.images / self.loading,
            "step_images_per_second": self.images / stepping,
            "waited": self.loading / self.looping,
        }
