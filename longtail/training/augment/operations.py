"""The fourteen operations of AutoAugment on a batch of uint8 images, each image with its own magnitude.

Each follows torchvision's function of the same name on uint8 tensors (`torchvision.transforms.functional`,
with the arguments that `torchvision.transforms.AutoAugment` gives it), to the grey level: the same float32
arithmetic in the same order, or integers. Geometric operations take the nearest pixel and fill with zero,
and shears keep the top left corner, as AutoAugment does by default. Translations and rotations go the other
way than torchvision's, as in the code released with Difficulty-Net: a positive translation moves the content
left or up, a positive rotation turns it clockwise. A source position half way between two pixels may round
either way between two float32 computations.

Images are uint8 [B, 3, H, W] on any device, magnitudes float64 [B] on the CPU; results are new tensors.
Everything derived from the magnitudes is computed on the CPU, so every device gets the same numbers.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from longtail.training.transfers import to_device

Operation = Callable[[Tensor, Tensor], Tensor]

RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # shares of the grey image


def _per_image(values: Tensor, images: Tensor) -> Tensor:
    """One number per image, float32 [B, 1, 1, 1] on the images' device."""
    return to_device(values.float(), images.device).view(-1, 1, 1, 1)


def _grey_levels(values: Tensor) -> Tensor:
    """Real numbers as uint8: clipped to 0..255, then rounded down."""
    # via int16: several times faster on a CPU than directly from float32
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)


def _blend(images: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """`share` [B] of the images and 1 - `share` of the other, which broadcasts."""
    return _grey_levels(images * _per_image(share, images) + other * _per_image(1 - share, images))


def _grey(images: Tensor) -> Tensor:
    """Whole grey levels, float32 [B, 1, H, W]."""
    red, green, blue = images.split(1, dim=1)
    return (red * RED + green * GREEN + blue * BLUE).floor_()


def brightness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with black; factor 1 is the image itself."""
    return _grey_levels(images * _per_image(factors, images))


def contrast(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the mean of the grey image."""
    # a sum of integers is exact in any order; a device's mean need not be
    mean = _grey(images).sum(dim=(1, 2, 3), keepdim=True) / (images.shape[2] * images.shape[3])
    return _blend(images, mean, factors)


def colour(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with the grey image (saturation)."""
    return _blend(images, _grey(images), factors)


def sharpness(images: Tensor, factors: Tensor) -> Tensor:
    """Blended with a smoothed image: 3x3, the centre weighted five times; the border is unchanged."""
    if min(images.shape[2:]) < 3:
        return images.clone()
    smooth = images.float()
    across = smooth[..., :-2] + smooth[..., 1:-1] + smooth[..., 2:]
    total = across[..., :-2, :] + across[..., 1:-1, :] + across[..., 2:, :] + 4 * smooth[..., 1:-1, 1:-1]
    smooth[..., 1:-1, 1:-1] = (total / 13).round_()  # thirteenths never end in a half, so there are no ties
    return _blend(images, smooth, factors)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Only the highest bits of each value; `bits` are rounded to whole numbers."""
    masks = 256 - (8 - bits).round().exp2()
    return images & to_device(masks.to(torch.uint8), images.device).view(-1, 1, 1, 1)


def solarize(images: Tensor, thresholds: Tensor) -> Tensor:
    """Values at or above the threshold inverted."""
    # for whole values, "not below t" is "not below t rounded up"; 256 inverts none
    whole = to_device(thresholds.ceil().to(torch.int16), images.device).view(-1, 1, 1, 1)
    return images ^ (images >= whole).to(torch.uint8) * 255


def invert(images: Tensor, magnitudes: Tensor) -> Tensor:
    """255 minus each value; the magnitude does not matter."""
    return 255 - images


def autocontrast(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel stretched to 0..255 (a constant channel is unchanged); the magnitude does not matter."""
    lowest = images.amin(dim=(2, 3), keepdim=True)
    span = images.amax(dim=(2, 3), keepdim=True) - lowest
    flat = span == 0
    scale = torch.where(flat, 1.0, 255 / span.float().masked_fill(flat, 1))
    return _grey_levels((images - lowest.masked_fill(flat, 0)) * scale)


def equalize(images: Tensor, magnitudes: Tensor) -> Tensor:
    """Each channel's histogram equalised (unchanged if too few pixels are below its top); no magnitude."""
    batch, channels, height, width = images.shape
    values = images.reshape(batch, channels, -1).long()
    counts = torch.zeros(batch, channels, 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(2, values, counts.new_ones(()).expand_as(values))
    below = (counts.cumsum(dim=2, dtype=torch.int32) - counts).float()
    of_the_top = counts.gather(2, values.amax(dim=2, keepdim=True))
    step = (height * width - of_the_top) // 255
    table = ((below + step // 2) / step.clamp(min=1)).floor_().clamp_(max=255)
    table = torch.where(step == 0, torch.arange(256.0, device=images.device), table).to(torch.uint8)
    return table.gather(2, values).view_as(images)


def read(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels at `rows` and `columns` (whole numbers, broadcast to [B, H, W]), zero outside the image.

    Images of any type and number of channels. Rows and columns may be floats, which are exact up to 16
    million pixels.
    """
    height, width = images.shape[2:]
    # pad with zeros: testing each position costs more than reading the padding
    bordered = F.pad(images, (1, 1, 1, 1)).flatten(2)
    places = (rows.clamp(-1, height) + 1) * (width + 2) + (columns.clamp(-1, width) + 1)
    of_channels = places.long().flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return bordered.gather(2, of_channels).view(*images.shape[:2], *places.shape[1:])


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """The nearest pixels to affine source positions, zero outside.

    Matrices float64 [B, 2, 3] on the CPU take (column, row, 1), counted from the image's centre, to the
    source's column and row.
    """
    height, width = images.shape[2:]
    terms = to_device(matrices.float(), images.device).view(-1, 6, 1, 1).unbind(1)
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None]
    columns = terms[0] * x + (terms[1] * y + terms[2]) + (width - 1) / 2
    rows = terms[3] * x + (terms[4] * y + terms[5]) + (height - 1) / 2
    return read(images, rows.round_(), columns.round_())


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, f: Tensor) -> Tensor:
    return torch.stack([a, b, c, d, e, f], dim=1).view(-1, 2, 3)


def shear_x(images: Tensor, shears: Tensor) -> Tensor:
    """Each row is read `shear` columns further right than the one above."""
    one, zero = torch.ones_like(shears), torch.zeros_like(shears)
    return affine(images, _matrices(one, shears, shears * images.shape[2] / 2, zero, one, zero))


def shear_y(images: Tensor, shears: Tensor) -> Tensor:
    """Each column is read `shear` rows further down than the one to its left."""
    one, zero = torch.ones_like(shears), torch.zeros_like(shears)
    return affine(images, _matrices(one, zero, zero, shears, one, shears * images.shape[3] / 2))


def _pixels(shares: Tensor, side: int, images: Tensor) -> Tensor:
    """Shares of a side as whole pixels, rounded towards zero, int64 [B, 1, 1]."""
    return to_device((shares * side).long(), images.device).view(-1, 1, 1)


def translate_x(images: Tensor, shares: Tensor) -> Tensor:
    """Moved to the left by a share of the width, in whole pixels."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device) + _pixels(shares, width, images)
    return read(images, rows, columns)


def translate_y(images: Tensor, shares: Tensor) -> Tensor:
    """Moved up by a share of the height, in whole pixels."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[:, None] + _pixels(shares, height, images)
    return read(images, rows, torch.arange(width, device=images.device))


def rotate(images: Tensor, degrees: Tensor) -> Tensor:
    """Rotated clockwise about the centre."""
    angles = torch.deg2rad(degrees)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    return affine(images, _matrices(cos, sin, zero, -sin, cos, zero))


OPERATIONS: dict[str, Operation] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "Brightness": brightness,
    "Color": colour,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
    "Invert": invert,
}
"""By the names of the published policy."""
