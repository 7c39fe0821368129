"""One job, from request to clips: the pipeline, its components, decoding, results and progress."""
