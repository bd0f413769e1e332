"""Films of played episodes: every picture says which episode it is and how that ends; GIF, and MP4 with ffmpeg."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rllib_biac.evaluation.play import Played

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_INK, _GROUND = (29, 33, 38), (251, 250, 247)


def captioned(played: Played) -> list[Image.Image]:
    """Returns the pictures of the play, each with a line below: episode, outcome, return of each agent."""
    images = [Image.fromarray(frame) for frame in played.frames]
    if not images:
        return []
    size = max(10, min(20, images[0].width // 40))
    font = ImageFont.load_default(size)
    captions = [_lines(caption(played, number), font, images[0].width - size) for number in range(len(played.lengths))]
    rows = max(map(len, captions), default=0)
    return [
        _with_lines(image, captions[number] if number < len(captions) else [], rows, font, size)
        for image, number in zip(images, played.episode_of_frame or [len(captions)] * len(images), strict=True)
    ]


def caption(played: Played, number: int) -> str:
    """Returns `Episode 2 of 10: main_first. main_0 42, auxiliary_0 18`."""
    end = played.ends[number] if number < len(played.ends) else ""
    got = ", ".join(f"{agent} {returns[number]:.4g}" for agent, returns in played.returns.items())
    return f"Episode {number + 1} of {len(played.lengths)}{f': {end}' if end else ''}. {got}"


def _lines(text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _with_lines(image: Image.Image, lines: list[str], rows: int, font: Font, size: int) -> Image.Image:
    """Returns the picture with room for so many rows of text below: all pictures of a film have one size."""
    line = round(1.4 * size)
    height = image.height + rows * line + size // 2
    # Videos need even numbers of pixels.
    whole = Image.new("RGB", (image.width + image.width % 2, height + height % 2), _GROUND)
    whole.paste(image, (0, 0))
    drawing = ImageDraw.Draw(whole)
    for row, text in enumerate(lines):
        drawing.text((size // 2, image.height + size // 4 + row * line), text, fill=_INK, font=font)
    return whole


def has_ffmpeg() -> bool:
    """Tells whether MP4 files can be written."""
    return shutil.which("ffmpeg") is not None


def need_ffmpeg() -> None:
    """Refuses to write MP4 files without it.

    Raises:
        ValueError: if there is none.
    """
    if not has_ffmpeg():
        raise ValueError("an .mp4 needs ffmpeg, which is not on PATH: install it, or write a .gif.")


def write_gif(images: list[Image.Image], frames_per_second: float, path: Path) -> None:
    """Writes an animation that begins again at its end."""
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / frames_per_second, loop=0)


def write_mp4(images: list[Image.Image], frames_per_second: float, path: Path) -> None:
    """Writes a video that every browser and slide program plays: H.264, 4:2:0.

    Raises:
        ValueError: if there is no ffmpeg, or it fails; its last line says why.
    """
    need_ffmpeg()
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
