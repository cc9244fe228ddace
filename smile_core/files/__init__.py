r"""Files: images in the formats of the field, read and written, with what is known of them."""
