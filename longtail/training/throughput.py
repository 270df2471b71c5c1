"""Whether a training waits for images: images per second of the loader and of the step."""

from dataclasses import dataclass


@dataclass
class Throughput:
    """Wall times of iterations since the training started or resumed; no result depends on them."""

    images: int = 0
    """Training images, second views and meta images in all batches."""
    loading: float = 0.0
    """Seconds that the loop waited for images."""
    looping: float = 0.0
    """Seconds of all iterations, waiting included."""

    def rates(self, decoding_rate: float | None) -> dict[str, float | None]:
        """Images per second of loader and step, and the share of time that the step waited, 0..1.

        The loader's rate is `decoding_rate` if images are decoded alongside the training, else the rate at
        which the loop made batches. All None before the first iteration.
        """
        stepping = self.looping - self.loading
        if not self.images or not self.loading or stepping <= 0:
            return dict.fromkeys(("loader_images_per_second", "step_images_per_second", "waited"))
        return {
            "loader_images_per_second": decoding_rate or self.images / self.loading,
            "step_images_per_second": self.images / stepping,
            "waited": self.loading / self.looping,
        }
