"""From a drawing to text and pictures: DOT, SVG, Mermaid, an outline, a page, files."""
