"""Conditioning: encodes a request's input (size, image, people, text, audio) to tensors."""
