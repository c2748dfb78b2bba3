"""The edge worker: classify every frame, offload the uncertain ones within the budget."""
