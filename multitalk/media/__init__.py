"""Pictures and sound in, video out: nothing in here knows of models or of torch.

``picture`` and ``sound`` read what people bring, ``mix`` puts several voices on one timeline, and
``video`` writes the file; ``fragments`` writes clips of it that play on their own. Import from the modules:
each needs only the library it is about.
"""
