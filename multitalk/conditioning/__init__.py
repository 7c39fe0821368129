"""From a request's raw input to tensors: size and picture, people, text, sound."""
