"""The chatcore service: the composition root."""
