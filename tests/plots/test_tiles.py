"""A grid of small images is one image, each tile in its place; signed numbers have one symmetric scale."""

import numpy as np
import pytest

from tinygrad_mnist.plots.figure import BLUE, VERMILLION, new_page
from tinygrad_mnist.plots.tiles import Grid, draw_tiles, on_paper, over, rgb, signed


@pytest.mark.parametrize(("h", "w"), [(28, 28), (8, 8), (300, 200)])
def test_each_tile_is_drawn_in_its_place(h: int, w: int) -> None:
    tiles = np.zeros((5, h, w, 4), np.uint8)
    tiles[..., 0] = np.arange(1, 6)[:, None, None]
    tiles[..., 3] = 255
    canvas = new_page(5, 3, "").canvas()
    grid = Grid(columns=2, left=0.4, top=0.2, across=1.3, down=1.1, width=0.8, height=0.8 * h / w)
    draw_tiles(canvas, tiles, grid)
    (image,) = canvas.images
    pixels = np.asarray(image.get_array())
    left, right, bottom, top = image.get_extent()
    for k in range(5):
        x, y = grid.corner(k)
        for dx, dy in ((0.1, 0.1), (0.7, 0.1), (0.7, 0.9 * grid.height)):
            row = int((y + dy - top) / (bottom - top) * pixels.shape[0])
            column = int((x + dx - left) / (right - left) * pixels.shape[1])
            assert pixels[row, column, 0] == k + 1
    assert pixels[:, int((0.4 + 0.8 + 0.2 - left) / (right - left) * pixels.shape[1]), 3].max() == 0
    assert canvas.get_xlim() == (0, 5)


def test_colours_are_symmetric_and_end_at_the_scale() -> None:
    pixels = signed(np.array([-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, np.inf, np.nan]), 2.0)
    assert pixels[:, 3].tolist() == [255, 255, 128, 0, 128, 255, 255, 0]
    assert (pixels[:3, :3] == rgb(BLUE)).all()
    assert (pixels[4:7, :3] == rgb(VERMILLION)).all()


def test_ink_is_dark_on_paper() -> None:
    images = np.array([[[0, 200]]], np.uint8)
    assert on_paper(images, as_ink=True)[0, 0, :, 0].tolist() == [255, 0]
    assert on_paper(images, as_ink=False)[0, 0, :, 0].tolist() == [0, 255]


def test_what_is_transparent_shows_what_is_below() -> None:
    below = np.array([[10, 20, 30, 255]], np.uint8)
    assert over(np.array([[255, 0, 0, 0]], np.uint8), below).tolist() == below.tolist()
    assert over(np.array([[250, 0, 0, 255]], np.uint8), below).tolist() == [[250, 0, 0, 255]]
