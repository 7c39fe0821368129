"""Training of the embedded demo weights: small networks on drawn faces and espeak-ng speech."""
