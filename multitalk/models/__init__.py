"""The networks: MultiTalk's additions to the models of diffusers and transformers."""
