"""The networks: what diffusers and transformers lack of MultiTalk, built on their classes."""
