"""Build time: convert published files into a baked weights folder.

``fetch`` downloads the files that ``catalogue`` lists and ``lock`` pins, ``bake`` converts and quantizes
them, and ``layers`` distributes the result over image layers. Nothing here runs when a video is generated.
"""
