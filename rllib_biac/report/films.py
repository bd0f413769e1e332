"""Films of played episodes: every picture says which episode it is and how that ends; GIF, and MP4 with ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rllib_biac.evaluation.play import Played

_INK, _GROUND = (29, 33, 38), (251, 250, 247)


def captioned(played: Played) -> list[Image.Image]:
    """Returns the pictures of the play, each with a line below: episode, outcome, return of each agent."""
    images = [Image.fromarray(frame) for frame in played.frames]
    if not images:
        return []
    size = max(10, min(20, images[0].width // 40))
    font = ImageFont.load_default(size)
    captions = [caption(played, number) for number in range(len(played.lengths))]
    return [
        _with_line(image, captions[number] if number < len(captions) else "", font, size)
        for image, number in zip(images, played.episode_of_frame or [len(captions)] * len(images), strict=True)
    ]


def caption(played: Played, number: int) -> str:
    """Returns `Episode 2 of 10: main_first. main_0 42, auxiliary_0 18`."""
    end = played.ends[number] if number < len(played.ends) else ""
    got = ", ".join(f"{agent} {returns[number]:.4g}" for agent, returns in played.returns.items())
    return f"Episode {number + 1} of {len(played.lengths)}{f': {end}' if end else ''}. {got}"


def _with_line(
    image: Image.Image, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, size: int
) -> Image.Image:
    drawing = ImageDraw.Draw(image)
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and drawing.textlength(longer, font=font) > image.width - size:
            lines.append(line)
            line = word
        else:
            line = longer
    lines.append(line)
    height = round(1.4 * size)
    # Every picture of a film has the same size: room for two lines. Videos need even numbers of pixels.
    whole = Image.new("RGB", (image.width + image.width % 2, image.height + 2 * height + size // 2), _GROUND)
    if whole.height % 2:
        whole = whole.crop((0, 0, whole.width, whole.height - 1))
    whole.paste(image, (0, 0))
    drawing = ImageDraw.Draw(whole)
    for k, line in enumerate(lines[:2]):
        drawing.text((size // 2, image.height + size // 4 + k * height), line, fill=_INK, font=font)
    return whole


def has_ffmpeg() -> bool:
    """Tells whether MP4 files can be written."""
    return shutil.which("ffmpeg") is not None


def write_gif(images: list[Image.Image], frames_per_second: float, path: Path) -> None:
    """Writes an animation that begins again at its end."""
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)


def write_mp4(images: list[Image.Image], frames_per_second: float, path: Path) -> None:
    """Writes a video that every browser and slide program plays: H.264, 4:2:0.

    Raises:
        ValueError: if there is no ffmpeg, or it fails; its last line says why.
    """
    if not has_ffmpeg():
        raise ValueError("an .mp4 needs ffmpeg, which is not on PATH: install it, or write a .gif.")
    width, height = images[0].size
    source = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        f"{frames_per_second:g}",
        "-i",
        "-",
    ]
    target = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)]
    pictures = b"".join(image.tobytes() for image in images)
    command = ["ffmpeg", "-y", "-loglevel", "error", *source, *target]
    done = subprocess.run(command, input=pictures, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ValueError(f"ffmpeg cannot write {path}: {said[-1]}")
