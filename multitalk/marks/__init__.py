"""Marks that say a video was made by AI, and the settings of the deployer for them.

* ``settings``: the environment variables;
* ``identity``: the certificate and the key that sign;
* ``manifest``, ``signing``, ``credentials``: Content Credentials (C2PA): what they say, signing, reading;
* ``watermark``, ``label``, ``frames``: what is added to the frames; ``reading``: finds it again;
* ``tags``: the same statement in the file's own metadata;
* ``job``: the marks of one job, the only place that decides which are made.
"""

from __future__ import annotations

C2PA = "c2pa"
WATERMARK = "watermark"
