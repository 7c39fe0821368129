"""Reading images and audio, and writing video, without models or torch.

``picture`` and ``sound`` read files, ``mix`` puts two voices on one timeline, ``video`` writes the mp4, and
``fragments`` writes single clips as playable files. Import from the modules: each imports only its library.
"""
