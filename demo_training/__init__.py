"""Makes the embedded demo weights: drawn faces, espeak-ng speech, small networks of the same classes."""
