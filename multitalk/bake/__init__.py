"""Build time: published files in, a baked weights folder out.

``fetch`` downloads the files that ``catalogue`` names and ``lock`` pins, ``bake`` converts and quantizes
them, and ``layers`` cuts the result into image layers. Nothing here runs when a video is made.
"""
