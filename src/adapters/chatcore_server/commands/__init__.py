"""The commands beside `chatcore serve`."""
